//! `GET /admin/v1/projections`: how late is what.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::IntoParams;

use super::request::{Parameters, query};
use super::{Admin, Kind, Problem, names};
use crate::lag::{Report, Status, Unmeasured, samples};
use crate::under_way;

/// How long what is asked beside the measurement may take.
const BESIDE: Duration = Duration::from_millis(900);

/// How late is what.
///
/// Measured from the store, now.
#[utoipa::path(
    get,
    path = "/projections",
    operation_id = "listProjections",
    tag = "projections",
    responses((status = 200, description = "All of them.", body = Report))
)]
pub(super) async fn list(State(admin): State<Admin>) -> Result<Json<Report>, Problem> {
    Ok(Json(explained(&admin).await?))
}

/// With what holds up what is late. Where that cannot be found out, what was measured is still true.
async fn explained(admin: &Admin) -> Result<Report, Problem> {
    let mut report = admin.measurer.report().await?;
    let (relays, earlier) = tokio::join!(
        timeout(BESIDE, under_way::relays(&admin.pool, admin.catalogue.topics())),
        timeout(BESIDE, samples::earlier(&admin.pool, report.observed_at))
    );
    let relays = relays.ok().and_then(Result::ok).unwrap_or_default();
    let earlier = earlier.ok().and_then(Result::ok).unwrap_or_default();
    report.explain(&relays, &earlier);
    Ok(report)
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Without it: the topic of the projection on which it is latest.
    topic: Option<String>,
}

/// How late one projection is.
#[utoipa::path(
    get,
    path = "/projections/{name}",
    operation_id = "showProjection",
    tag = "projections",
    params(("name" = String, Path, description = "Of a projection of the program."), Wanted),
    responses((status = 200, description = "How late it is.", body = Status)),
    extensions(("x-problems" = json!([Kind::NotFound])))
)]
pub(super) async fn show(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    wanted: Parameters<Wanted>,
) -> Result<Json<Status>, Problem> {
    let Wanted { topic } = query(wanted)?;
    let wanted = |of: &str| topic.as_deref().is_none_or(|topic| topic == of);
    let projection = admin.projection(&name).map_err(Problem::not_found)?;
    names::topic(&admin.catalogue, topic.as_deref())?;
    if !projection.topics().iter().any(|topic| wanted(topic.name)) {
        let topics: Vec<_> = projection.topics().iter().map(|topic| topic.name).collect();
        return Err(Problem::not_found(format!("{name} listens to {} only", topics.join(" and "))));
    }
    let report = explained(&admin).await?;
    let failed = |failed: &&Unmeasured| failed.name == projection.name() && failed.topic.as_deref().is_some_and(wanted);
    if let Some(failed) = report.unmeasured.iter().find(failed) {
        return Err(Problem::unavailable(format!("{name} could not be measured: {}", failed.problem)));
    }
    let unestablished =
        || Problem::not_found(format!("projection {name} is not in the database yet: run fleet migrate"));
    let shown =
        report.projections.into_iter().filter(|status| status.name == projection.name() && wanted(&status.topic));
    shown.max_by(|one, other| one.lag_seconds.total_cmp(&other.lag_seconds)).map(Json).ok_or_else(unestablished)
}
