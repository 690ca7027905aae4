//! `GET /admin/v1/operations`: what was asked for, and how far it is.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::request::{IfNoneMatch, Parameters, page, query, tagged};
use super::{Admin, Kind, Problem};
use crate::operations::{self, Operation};

#[derive(Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// The `next` of the page before.
    pub before: Option<Uuid>,
    /// Of a page; at most, and if it is absent, 100.
    #[param(minimum = 1, maximum = 100, default = 100)]
    pub limit: Option<i64>,
}

/// The newest first.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = OperationPage)]
pub struct Page {
    pub operations: Vec<Operation>,
    /// `null`: this is the last page.
    pub next: Option<Uuid>,
}

/// What was asked for, and how far it is.
///
/// The newest operations come first.
#[utoipa::path(
    get,
    path = "/operations",
    operation_id = "listOperations",
    tag = "operations",
    params(Listing),
    responses((status = 200, description = "A page.", body = Page))
)]
pub(super) async fn list(State(admin): State<Admin>, listing: Parameters<Listing>) -> Result<Json<Page>, Problem> {
    let Listing { before, limit } = query(listing)?;
    let limit = page(limit)?;
    let operations = operations::list(&admin.pool, before, limit).await?;
    let next = operations.last().map(|last| last.id).filter(|_| operations.len() as i64 == limit);
    Ok(Json(Page { operations, next }))
}

/// How far one operation is.
#[utoipa::path(
    get,
    path = "/operations/{id}",
    operation_id = "showOperation",
    tag = "operations",
    params(("id" = Uuid, Path, description = "Of an operation."), IfNoneMatch),
    responses(
        (status = 200, description = "The operation.", body = Operation, headers(("ETag" = String, description = "Its tag."))),
        (status = 304, description = "It is as it was seen.")
    ),
    extensions(("x-problems" = json!([Kind::NotFound])))
)]
pub(super) async fn show(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = Uuid::try_parse(&id).map_err(|_| Problem::not_found(format!("{id:?} is not the id of an operation")))?;
    Ok(tagged(&headers, &find(&admin, id).await?))
}

pub(super) async fn find(admin: &Admin, id: Uuid) -> Result<Operation, Problem> {
    operations::get(&admin.pool, id).await?.ok_or_else(|| Problem::not_found(format!("there is no operation {id}")))
}

/// The answer to whoever asked for an operation.
pub(super) fn accepted(operation: Operation) -> Response {
    let location = format!("/admin/v1/operations/{}", operation.id);
    (StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(operation)).into_response()
}
