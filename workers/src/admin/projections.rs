//! `GET /admin/v1/projections`: how late is what.

use axum::Json;
use axum::extract::{Path, State};

use super::{Admin, Problem};
use crate::lag::{Report, Status};

pub(super) async fn list(State(admin): State<Admin>) -> Result<Json<Report>, Problem> {
    Ok(Json(admin.measurer.report().await?))
}

pub(super) async fn show(State(admin): State<Admin>, Path(name): Path<String>) -> Result<Json<Status>, Problem> {
    let unknown = || Problem::not_found(format!("there is no projection {name:?} here, only {}", admin.names()));
    let projection = admin.projection(&name).ok_or_else(unknown)?;
    let report = admin.measurer.report().await?;
    if let Some(failed) = report.unmeasured.iter().find(|failed| failed.name == projection.name()) {
        return Err(Problem::unavailable(format!("{name} could not be measured: {}", failed.problem)));
    }
    report.projections.into_iter().find(|status| status.name == projection.name()).map(Json).ok_or_else(unknown)
}
