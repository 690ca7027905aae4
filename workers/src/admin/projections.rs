//! `GET /admin/v1/projections`: how late is what.

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;

use super::request::{Asked, query};
use super::{Admin, Problem};
use crate::lag::{Report, Status};

pub(super) async fn list(State(admin): State<Admin>) -> Result<Json<Report>, Problem> {
    Ok(Json(admin.measurer.report().await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Without it: the topic on which the projection is furthest behind.
    topic: Option<String>,
}

pub(super) async fn show(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    wanted: Asked<Wanted>,
) -> Result<Json<Status>, Problem> {
    let Wanted { topic } = query(wanted)?;
    let unknown = || Problem::not_found(format!("there is no projection {name:?} here, only {}", admin.names()));
    let projection = admin.projection(&name).ok_or_else(unknown)?;
    let report = admin.measurer.report().await?;
    if let Some(failed) = report.unmeasured.iter().find(|failed| failed.name == projection.name()) {
        return Err(Problem::unavailable(format!("{name} could not be measured: {}", failed.problem)));
    }
    let topics = report.projections.into_iter().filter(|status| status.name == projection.name());
    let shown = topics.filter(|status| topic.as_deref().is_none_or(|topic| status.topic == topic));
    shown.min_by_key(|status| status.settled_position).map(Json).ok_or_else(unknown)
}
