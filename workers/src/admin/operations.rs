//! `/admin/v1/operations`: what was asked for, and how far it is; how fast one may go, and the switch that stops all of them.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::access::Asker;
use super::generations::Steering;
use super::request::{
    IdempotencyKey, IfMatch, IfNoneMatch, Parameters, idempotency_key, page, parse, query, seen, tagged,
};
use super::{Admin, Kind, Problem};
use crate::operations::rate::{self, NewRate, Unchanged};
use crate::operations::stop::{self, NewStop, Switched, Unswitched};
use crate::operations::{self, Operation, Rate};
use crate::pause::LONGEST_SECONDS;

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

/// `POST /admin/v1/operations/{id}/rate`.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RateChange {
    /// Events a second at most, of all who work on it together; `null` takes the rate away.
    #[serde(default)]
    #[schema(minimum = 0.1, maximum = 1_000_000)]
    pub rate: Option<f64>,
    /// How long it holds, by the database's clock, at most 7 days; without it an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 604_800)]
    pub seconds: Option<u32>,
    #[schema(max_length = 1000, pattern = "^[^\\x00]*$")]
    pub actor: String,
    #[schema(max_length = 1000, pattern = "^[^\\x00]*$")]
    pub reason: String,
}

/// Sets how fast an operation may go, for a time, or lets it go as fast as it can.
#[utoipa::path(
    post,
    path = "/operations/{id}/rate",
    operation_id = "setRate",
    tag = "operations",
    params(("id" = Uuid, Path, description = "Of a repair, a rebuild or a verification."), IdempotencyKey, IfMatch),
    request_body = RateChange,
    responses((status = 200, description = "As it is now.", body = Operation)),
    extensions(("x-problems" = json!([Kind::NotFound, Kind::Refused, Kind::Changed])))
)]
pub(super) async fn set_rate(
    State(admin): State<Admin>,
    asker: Asker,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Operation>, Problem> {
    let RateChange { rate, seconds, actor, reason } = parse(&body)?;
    let by = asker.signs(actor, reason);
    by.require()?;
    let rate = Rate::of(rate, seconds, "seconds")?;
    let id = Uuid::try_parse(&id).map_err(|_| Problem::not_found(format!("{id:?} is not the id of an operation")))?;
    let new = NewRate { rate, seen: seen(&headers)?, by, idempotency_key: idempotency_key(&headers)? };
    rate::set(&admin.pool, id, &new).await?;
    Ok(Json(find(&admin, id).await?))
}

/// `POST /admin/v1/operations/stop`.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = StopRequest)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// How long, by the database's clock, at most 366 days; without it until somebody has them go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 31_622_400)]
    pub seconds: Option<u32>,
    /// In place of the stop that there is.
    #[serde(default)]
    pub replace: bool,
    #[schema(max_length = 1000, pattern = "^[^\\x00]*$")]
    pub actor: String,
    #[schema(max_length = 1000, pattern = "^[^\\x00]*$")]
    pub reason: String,
}

/// Stops all repairs, batches of retries, rebuilds and verifications.
///
/// Promotes, rollbacks, retirements and pauses go on, and so does a generation that is built.
#[utoipa::path(
    post,
    path = "/operations/stop",
    operation_id = "stopOperations",
    tag = "operations",
    params(IdempotencyKey),
    request_body = Stop,
    responses((status = 200, description = "As it is now.", body = Switched)),
    extensions(("x-problems" = json!([Kind::Refused])))
)]
pub(super) async fn stop(
    State(admin): State<Admin>,
    asker: Asker,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Switched>, Problem> {
    let Stop { seconds, replace, actor, reason } = parse(&body)?;
    let by = asker.signs(actor, reason);
    by.require()?;
    if seconds.is_some_and(|seconds| !(1..=LONGEST_SECONDS).contains(&seconds)) {
        return Err(Problem::invalid("seconds", format!("must be 1 to {LONGEST_SECONDS}; leave it out for no end")));
    }
    let new = NewStop { seconds, replace, by, idempotency_key: idempotency_key(&headers)? };
    Ok(Json(stop::stop(&admin.pool, &new).await?))
}

/// Has all operations go on that were stopped.
#[utoipa::path(
    post,
    path = "/operations/go-on",
    operation_id = "goOnWithOperations",
    tag = "operations",
    params(IdempotencyKey),
    request_body = Steering,
    responses((status = 200, description = "As it is now.", body = Switched)),
    extensions(("x-problems" = json!([Kind::Refused])))
)]
pub(super) async fn go_on(
    State(admin): State<Admin>,
    asker: Asker,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Switched>, Problem> {
    let Steering { reason, actor } = parse(&body)?;
    let by = asker.signs(actor, reason);
    by.require()?;
    Ok(Json(stop::go_on(&admin.pool, &by, idempotency_key(&headers)?.as_deref()).await?))
}

pub(super) async fn find(admin: &Admin, id: Uuid) -> Result<Operation, Problem> {
    operations::get(&admin.pool, id).await?.ok_or_else(|| Problem::not_found(format!("there is no operation {id}")))
}

/// The answer to whoever asked for an operation.
pub(super) fn accepted(operation: Operation) -> Response {
    let location = format!("/admin/v1/operations/{}", operation.id);
    (StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(operation)).into_response()
}

impl From<Unchanged> for Problem {
    fn from(unchanged: Unchanged) -> Self {
        let detail = unchanged.to_string();
        match unchanged {
            Unchanged::Asked(refused) => refused.into(),
            Unchanged::Unknown(_) => Self::not_found(detail),
            Unchanged::Impossible(_) => Self::refused(detail),
            Unchanged::Unseen(_) => Self::of(Kind::Changed, detail),
        }
    }
}

impl From<Unswitched> for Problem {
    fn from(unswitched: Unswitched) -> Self {
        let detail = unswitched.to_string();
        match unswitched {
            Unswitched::Asked(refused) => refused.into(),
            Unswitched::StoppedAlready(_) | Unswitched::NotStopped => Self::refused(detail),
        }
    }
}
