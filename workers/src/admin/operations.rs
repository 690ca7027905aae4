//! `GET /admin/v1/operations`: what was asked for, and how far it is.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::{Admin, Problem};
use crate::operations::{self, Operation};

/// Operations shown at most.
const LISTED: i64 = 100;

pub(super) async fn list(State(admin): State<Admin>) -> Result<Json<Vec<Operation>>, Problem> {
    Ok(Json(operations::list(&admin.pool, LISTED).await?))
}

pub(super) async fn show(State(admin): State<Admin>, Path(id): Path<String>) -> Result<Json<Operation>, Problem> {
    let id = Uuid::try_parse(&id).map_err(|_| Problem::not_found(format!("{id:?} is not the id of an operation")))?;
    Ok(Json(find(&admin, id).await?))
}

pub(super) async fn find(admin: &Admin, id: Uuid) -> Result<Operation, Problem> {
    operations::get(&admin.pool, id).await?.ok_or_else(|| Problem::not_found(format!("there is no operation {id}")))
}

/// The answer to whoever asked for an operation.
pub(super) fn accepted(operation: Operation) -> Response {
    let location = format!("/admin/v1/operations/{}", operation.id);
    (StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(operation)).into_response()
}
