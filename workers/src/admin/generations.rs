//! `/admin/v1/projections/{name}/generations`: building anew, putting in place, taking back, dropping. And the operations that
//! can be paused. Everything that changes something is asked twice: with `dry_run`, which answers what would be done and a
//! token, and with the token.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use read_model::AnyProjection;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::access::Asker;
use super::request::{IdempotencyKey, idempotency_key, parse};
use super::{Admin, Kind, Problem, operations};
use crate::audit::Attribution;
use crate::generations::as_of::{self, AsOf, NewAsOf};
use crate::generations::gate::{self, NewPromote, Way};
use crate::generations::rebuild::{self, NewRebuild};
use crate::generations::retire::{self, NewRetirement};
use crate::generations::verify::{self, Difference};
use crate::generations::{self, Generation, MOST_PARTS, Refused};
use crate::operations::{Operation, Rate};

/// Generations shown at most.
const LISTED: i64 = 50;

/// `POST /admin/v1/projections/{name}/generations`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rebuild {
    /// How many parts are built side by side, 1 to 16.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 16)]
    pub parts: i32,
    /// Events a second at most, of all parts together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0.1, maximum = 1_000_000)]
    pub rate: Option<f64>,
    /// How long the rate holds, by the database's clock, at most 7 days; without it an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 604_800)]
    pub rate_seconds: Option<u32>,
    /// Only say what would be done; write nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// The `plan_token` of that answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_token: Option<String>,
    #[serde(default)]
    #[schema(max_length = 1000, pattern = "^[^\\x00]*$")]
    pub reason: String,
    #[serde(default)]
    #[schema(max_length = 1000, pattern = "^[^\\x00]*$")]
    pub actor: String,
}

/// `POST` to `promote`, `rollback`, `retire` of a generation.
#[derive(Debug, Default, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Only say what would be done; write nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// The `plan_token` of that answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_token: Option<String>,
    #[serde(default)]
    #[schema(max_length = 1000, pattern = "^[^\\x00]*$")]
    pub reason: String,
    #[serde(default)]
    #[schema(max_length = 1000, pattern = "^[^\\x00]*$")]
    pub actor: String,
}

/// `POST /admin/v1/operations/{id}/pause`, `resume`, `cancel`, and a verification.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Steering {
    #[serde(default)]
    #[schema(max_length = 1000, pattern = "^[^\\x00]*$")]
    pub reason: String,
    #[serde(default)]
    #[schema(max_length = 1000, pattern = "^[^\\x00]*$")]
    pub actor: String,
}

/// Compares the rows that are read with what the store folds to.
#[utoipa::path(
    post,
    path = "/projections/{name}/verifications",
    operation_id = "verify",
    tag = "generations",
    params(("name" = String, Path, description = "Of a projection."), IdempotencyKey),
    request_body = Steering,
    responses(
        (
            status = 202,
            description = "It is asked for.",
            body = Operation,
            headers(("Location" = String, description = "Where the operation is."))
        )
    ),
    extensions(("x-problems" = json!([Kind::NotFound, Kind::Refused])))
)]
pub(super) async fn verify(
    State(admin): State<Admin>,
    asker: Asker,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let Steering { reason, actor } = parse(&body)?;
    let by = asker.signs(actor, reason);
    by.require()?;
    let projection = projection(&admin, &name)?;
    let id = verify::ask(&admin.pool, projection, &by, idempotency_key(&headers)?.as_deref()).await?;
    Ok(operations::accepted(operations::find(&admin, id).await?))
}

/// What a verification has found, by key; the first hundred of each table.
#[utoipa::path(
    get,
    path = "/operations/{id}/differences",
    operation_id = "listDifferences",
    tag = "operations",
    params(("id" = Uuid, Path, description = "Of an operation.")),
    responses(
        (status = 200, description = "All of them.", body = Vec<Difference>)
    ),
    extensions(("x-problems" = json!([Kind::NotFound])))
)]
pub(super) async fn differences(
    State(admin): State<Admin>,
    Path(id): Path<String>,
) -> Result<Json<Vec<Difference>>, Problem> {
    let id = Uuid::try_parse(&id).map_err(|_| Problem::not_found(format!("{id:?} is not the id of an operation")))?;
    operations::find(&admin, id).await?;
    Ok(Json(verify::differences(&admin.pool, id).await?))
}

fn one() -> i32 {
    1
}

/// Who, why, and with which token; `None`: it is a dry run.
fn decided(asker: &Asker, change: Change) -> Result<Option<(Attribution, String)>, Problem> {
    if change.dry_run {
        return Ok(None);
    }
    let by = asker.signs(change.actor, change.reason);
    by.require()?;
    let token = change.plan_token.ok_or_else(Problem::plan_required)?;
    Ok(Some((by, token)))
}

/// The generations of a projection, the newest first.
#[utoipa::path(
    get,
    path = "/projections/{name}/generations",
    operation_id = "listGenerations",
    tag = "generations",
    params(("name" = String, Path, description = "Of a projection.")),
    responses(
        (status = 200, description = "All of them.", body = Vec<Generation>)
    ),
    extensions(("x-problems" = json!([Kind::NotFound])))
)]
pub(super) async fn list(
    State(admin): State<Admin>,
    Path(name): Path<String>,
) -> Result<Json<Vec<Generation>>, Problem> {
    let projection = projection(&admin, &name)?;
    Ok(Json(generations::list_of(&admin.pool, projection, LISTED).await?))
}

/// Builds a read model anew, beside the one that is read, or says what that would be.
#[utoipa::path(
    post,
    path = "/projections/{name}/generations",
    operation_id = "rebuild",
    tag = "generations",
    params(("name" = String, Path, description = "Of a projection."), IdempotencyKey),
    request_body = Rebuild,
    responses(
        (status = 200, description = "Of a dry run.", body = rebuild::Plan),
        (
            status = 202,
            description = "It is asked for.",
            body = Operation,
            headers(("Location" = String, description = "Where the operation is."))
        )
    ),
    extensions(("x-problems" = json!([Kind::NotFound, Kind::Refused, Kind::StalePlan, Kind::PlanRequired])))
)]
pub(super) async fn rebuild(
    State(admin): State<Admin>,
    asker: Asker,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let Rebuild { parts, rate, rate_seconds, dry_run, plan_token, reason, actor } = parse(&body)?;
    let projection = projection(&admin, &name)?;
    if !(1..=MOST_PARTS).contains(&parts) {
        return Err(Problem::invalid("parts", format!("must be 1 to {MOST_PARTS}")));
    }
    let rate = Rate::of(rate, rate_seconds, "rate_seconds")?;
    let Some((by, plan_token)) = decided(&asker, Change { dry_run, plan_token, reason, actor })? else {
        let plan = rebuild::plan(&admin.pool, projection).await?;
        return Ok(Json(match rate {
            Some(rate) => plan.at(rate),
            None => plan,
        })
        .into_response());
    };
    let new = NewRebuild { parts, rate, plan_token, by, idempotency_key: idempotency_key(&headers)? };
    let id = rebuild::ask(&admin.pool, projection, &new).await?;
    Ok(operations::accepted(operations::find(&admin, id).await?))
}

/// `POST /admin/v1/projections/{name}/as-of`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AsOfRequest {
    /// The last position that is to be in it. This, or `time`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub position: Option<i64>,
    /// Of everything that was recorded at that time or before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<DateTime<Utc>>,
    /// How many parts are built side by side, 1 to 16.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 16)]
    pub parts: i32,
    /// Events a second at most, of all parts together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0.1, maximum = 1_000_000)]
    pub rate: Option<f64>,
    /// How long the rate holds, by the database's clock, at most 7 days; without it an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 604_800)]
    pub rate_seconds: Option<u32>,
    /// Only say what would be done; write nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// The `plan_token` of that answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_token: Option<String>,
    #[serde(default)]
    #[schema(max_length = 1000, pattern = "^[^\\x00]*$")]
    pub reason: String,
    #[serde(default)]
    #[schema(max_length = 1000, pattern = "^[^\\x00]*$")]
    pub actor: String,
}

/// Builds a read model as of a past position or time, to be looked at, or says what that would be.
///
/// It does not follow the store and is never promoted. It goes when it is retired.
#[utoipa::path(
    post,
    path = "/projections/{name}/as-of",
    operation_id = "buildAsOf",
    tag = "generations",
    params(("name" = String, Path, description = "Of a projection."), IdempotencyKey),
    request_body = AsOfRequest,
    responses(
        (status = 200, description = "Of a dry run.", body = as_of::Plan),
        (
            status = 202,
            description = "It is asked for.",
            body = Operation,
            headers(("Location" = String, description = "Where the operation is."))
        )
    ),
    extensions(("x-problems" = json!([Kind::NotFound, Kind::Refused, Kind::StalePlan, Kind::PlanRequired])))
)]
pub(super) async fn build_as_of(
    State(admin): State<Admin>,
    asker: Asker,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let AsOfRequest { position, time, parts, rate, rate_seconds, dry_run, plan_token, reason, actor } = parse(&body)?;
    let projection = projection(&admin, &name)?;
    let as_of = match (position, time) {
        (Some(position), None) => AsOf::Position(position),
        (None, Some(time)) => AsOf::Time(time),
        _ => return Err(Problem::invalid("position", "say a position or a time, and not both")),
    };
    if !(1..=MOST_PARTS).contains(&parts) {
        return Err(Problem::invalid("parts", format!("must be 1 to {MOST_PARTS}")));
    }
    let rate = Rate::of(rate, rate_seconds, "rate_seconds")?;
    let Some((by, plan_token)) = decided(&asker, Change { dry_run, plan_token, reason, actor })? else {
        return Ok(Json(as_of::plan(&admin.pool, projection, as_of).await?).into_response());
    };
    let new = NewAsOf { as_of, parts, rate, plan_token, by, idempotency_key: idempotency_key(&headers)? };
    let id = as_of::ask(&admin.pool, projection, &new).await?;
    Ok(operations::accepted(operations::find(&admin, id).await?))
}

/// Puts a generation in the place of the one that is read, or says whether it may.
#[utoipa::path(
    post,
    path = "/projections/{name}/generations/{generation}/promote",
    operation_id = "promote",
    tag = "generations",
    params(("name" = String, Path, description = "Of a projection."), ("generation" = i32, Path, description = "Its number."), IdempotencyKey),
    request_body = Change,
    responses(
        (status = 200, description = "Of a dry run.", body = gate::Gate),
        (
            status = 202,
            description = "It is asked for.",
            body = Operation,
            headers(("Location" = String, description = "Where the operation is."))
        )
    ),
    extensions(("x-problems" = json!([Kind::NotFound, Kind::Refused, Kind::StalePlan, Kind::PlanRequired])))
)]
pub(super) async fn promote(
    admin: State<Admin>,
    asker: Asker,
    path: Path<(String, i32)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    exchange(admin, asker, path, headers, body, Way::Promote).await
}

/// Puts back a generation that was read before, or says whether it may.
#[utoipa::path(
    post,
    path = "/projections/{name}/generations/{generation}/rollback",
    operation_id = "rollback",
    tag = "generations",
    params(("name" = String, Path, description = "Of a projection."), ("generation" = i32, Path, description = "Its number."), IdempotencyKey),
    request_body = Change,
    responses(
        (status = 200, description = "Of a dry run.", body = gate::Gate),
        (
            status = 202,
            description = "It is asked for.",
            body = Operation,
            headers(("Location" = String, description = "Where the operation is."))
        )
    ),
    extensions(("x-problems" = json!([Kind::NotFound, Kind::Refused, Kind::StalePlan, Kind::PlanRequired])))
)]
pub(super) async fn rollback(
    admin: State<Admin>,
    asker: Asker,
    path: Path<(String, i32)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    exchange(admin, asker, path, headers, body, Way::Rollback).await
}

async fn exchange(
    State(admin): State<Admin>,
    asker: Asker,
    Path((name, generation)): Path<(String, i32)>,
    headers: HeaderMap,
    body: Bytes,
    way: Way,
) -> Result<Response, Problem> {
    let change: Change = parse(&body)?;
    let projection = projection(&admin, &name)?;
    let Some((by, plan_token)) = decided(&asker, change)? else {
        return Ok(Json(gate::look(&admin.pool, projection, way, Some(generation)).await?).into_response());
    };
    let idempotency_key = idempotency_key(&headers)?;
    let new = NewPromote { way, generation: Some(generation), plan_token, by, idempotency_key };
    let id = gate::ask(&admin.pool, projection, &new).await?;
    Ok(operations::accepted(operations::find(&admin, id).await?))
}

/// Drops the tables of a generation that is not read, or says what that would be.
#[utoipa::path(
    post,
    path = "/projections/{name}/generations/{generation}/retire",
    operation_id = "retire",
    tag = "generations",
    params(("name" = String, Path, description = "Of a projection."), ("generation" = i32, Path, description = "Its number."), IdempotencyKey),
    request_body = Change,
    responses(
        (status = 200, description = "Of a dry run.", body = retire::Retirement),
        (
            status = 202,
            description = "It is asked for.",
            body = Operation,
            headers(("Location" = String, description = "Where the operation is."))
        )
    ),
    extensions(("x-problems" = json!([Kind::NotFound, Kind::Refused, Kind::StalePlan, Kind::PlanRequired])))
)]
pub(super) async fn retire(
    State(admin): State<Admin>,
    asker: Asker,
    Path((name, generation)): Path<(String, i32)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let change: Change = parse(&body)?;
    let projection = projection(&admin, &name)?;
    let Some((by, plan_token)) = decided(&asker, change)? else {
        return Ok(Json(retire::plan(&admin.pool, projection, generation).await?).into_response());
    };
    let new = NewRetirement { generation, plan_token, by, idempotency_key: idempotency_key(&headers)? };
    let id = retire::ask(&admin.pool, projection, &new).await?;
    Ok(operations::accepted(operations::find(&admin, id).await?))
}

/// Stops a rebuild or a verification until it is resumed.
#[utoipa::path(
    post,
    path = "/operations/{id}/pause",
    operation_id = "pauseOperation",
    tag = "operations",
    params(("id" = Uuid, Path, description = "Of an operation.")),
    request_body = Steering,
    responses(
        (status = 200, description = "As it is now.", body = Operation)
    ),
    extensions(("x-problems" = json!([Kind::NotFound, Kind::Refused])))
)]
pub(super) async fn pause(
    admin: State<Admin>,
    asker: Asker,
    id: Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    steer(admin, &asker, id, &body, async |admin, id, by| rebuild::pause(&admin.pool, id, &by).await).await
}

/// Lets it go on.
#[utoipa::path(
    post,
    path = "/operations/{id}/resume",
    operation_id = "resumeOperation",
    tag = "operations",
    params(("id" = Uuid, Path, description = "Of an operation.")),
    request_body = Steering,
    responses(
        (status = 200, description = "As it is now.", body = Operation)
    ),
    extensions(("x-problems" = json!([Kind::NotFound, Kind::Refused])))
)]
pub(super) async fn resume(
    admin: State<Admin>,
    asker: Asker,
    id: Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    steer(admin, &asker, id, &body, async |admin, id, by| rebuild::resume(&admin.pool, id, &by).await).await
}

/// Ends an operation before it is through.
///
/// What a rebuild or a verification has built is dropped; what a repair has applied stays; a promote, a rollback or a retirement that no
/// worker has done yet is not done.
#[utoipa::path(
    post,
    path = "/operations/{id}/cancel",
    operation_id = "cancelOperation",
    tag = "operations",
    params(("id" = Uuid, Path, description = "Of an operation.")),
    request_body = Steering,
    responses(
        (status = 200, description = "As it is now.", body = Operation)
    ),
    extensions(("x-problems" = json!([Kind::NotFound, Kind::Refused])))
)]
pub(super) async fn cancel(
    admin: State<Admin>,
    asker: Asker,
    id: Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    steer(admin, &asker, id, &body, async |admin, id, by| rebuild::cancel(&admin.pool, id, &by).await).await
}

async fn steer(
    State(admin): State<Admin>,
    asker: &Asker,
    Path(id): Path<String>,
    body: &[u8],
    change: impl AsyncFnOnce(Admin, Uuid, Attribution) -> Result<(), Refused>,
) -> Result<Response, Problem> {
    let Steering { reason, actor } = parse(body)?;
    let by = asker.signs(actor, reason);
    by.require()?;
    let id = Uuid::try_parse(&id).map_err(|_| Problem::not_found(format!("{id:?} is not the id of an operation")))?;
    change(admin.clone(), id, by).await?;
    Ok(Json(operations::find(&admin, id).await?).into_response())
}

fn projection(admin: &Admin, name: &str) -> Result<&'static dyn AnyProjection, Problem> {
    admin.projection(name).map_err(Problem::not_found)
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let detail = refused.to_string();
        match refused {
            Refused::Database(error) => error.into(),
            Refused::Operation(refused) => refused.into(),
            Refused::Missing(_) | Refused::Unknown(..) | Refused::NoOperation(_) => Self::not_found(detail),
            Refused::StalePlan => Self::of(Kind::StalePlan, detail),
            Refused::UnderWay { .. } | Refused::Impossible(_) => Self::refused(detail),
        }
    }
}
