//! `GET /admin/v1/projections`: how late is what.

use axum::Json;
use axum::extract::{Path, State};

use super::{Admin, Problem};
use crate::lag::{self, Report, Status};

pub(super) async fn list(State(admin): State<Admin>) -> Result<Json<Report>, Problem> {
    Ok(Json(lag::report(&admin.pool, &admin.projections).await?))
}

pub(super) async fn show(State(admin): State<Admin>, Path(name): Path<String>) -> Result<Json<Status>, Problem> {
    let unknown = || Problem::not_found(format!("there is no projection {name:?} here, only {}", admin.names()));
    let projection = admin.projection(&name).ok_or_else(unknown)?;
    let report = lag::report(&admin.pool, &[projection]).await?;
    report.projections.into_iter().next().map(Json).ok_or_else(unknown)
}
