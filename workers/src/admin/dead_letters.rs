//! `/admin/v1/dead-letters`: look, try again, go on without.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use events::Json;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::access::Asker;
use super::request::{
    IdempotencyKey, IfMatch, IfNoneMatch, Look, Parameters, idempotency_key, page, parse, query, seen, tagged,
};
use super::{Admin, Kind, Problem, names, operations};
use crate::dead_letters::park::Reason;
use crate::dead_letters::{self, Content, DeadLetter, Discard, Filter, MAX_PLANNED, Plan, Refused, Retry};
use crate::object::object;
use crate::operations::Operation;

/// Events a second that a retry applies, unless the request says otherwise.
const RATE: f64 = 1000.0;

/// Which are looked at; what is absent means any.
#[derive(Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    #[param(min_length = 1, max_length = 400, pattern = "^[^\\x00]*$")]
    pub projection: Option<String>,
    /// Of the projection; without it those of all that are kept.
    #[param(minimum = 1)]
    pub generation: Option<i32>,
    #[param(min_length = 1, max_length = 400, pattern = "^[^\\x00]*$")]
    pub topic: Option<String>,
    pub reason: Option<Reason>,
    pub aggregate_id: Option<Uuid>,
    #[param(min_length = 1, max_length = 400, pattern = "^[^\\x00]*$")]
    pub event_type: Option<String>,
    /// The `next` of the page before.
    pub after: Option<Uuid>,
    /// Of a page; at most, and if it is absent, 100.
    #[param(minimum = 1, maximum = 100, default = 100)]
    pub limit: Option<i64>,
}

/// The oldest first.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = DeadLetterPage)]
pub struct Page {
    pub dead_letters: Vec<DeadLetter>,
    /// `null`: this is the last page.
    pub next: Option<Uuid>,
}

/// What is parked.
///
/// The oldest dead letters come first, without what they carry.
#[utoipa::path(
    get,
    path = "/dead-letters",
    operation_id = "listDeadLetters",
    tag = "dead letters",
    params(Listing),
    responses((status = 200, description = "A page.", body = Page))
)]
pub(super) async fn list(
    State(admin): State<Admin>,
    listing: Parameters<Listing>,
) -> Result<axum::Json<Page>, Problem> {
    let Listing { projection, generation, topic, reason, aggregate_id, event_type, after, limit } = query(listing)?;
    let limit = page(limit)?;
    let filter = Filter { projection, generation, topic, reason, aggregate_id, event_type, ..Filter::default() };
    admin.check("", &filter)?;
    let dead_letters = dead_letters::list(&admin.pool, &filter, after, limit).await?;
    if dead_letters.is_empty() && after.is_none() {
        admin.nothing_found("", &filter).await?;
    }
    let next = dead_letters.last().map(|last| last.id).filter(|_| dead_letters.len() as i64 == limit);
    Ok(axum::Json(Page { dead_letters, next }))
}

/// A letter. What it carries is absent unless it was asked for, and else JSON, digit for digit, if it is that.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = DeadLetterShown)]
pub struct Shown {
    #[serde(flatten)]
    pub letter: DeadLetter,
    #[serde(default, deserialize_with = "there", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value, required = false)]
    pub payload: Option<Json>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<BTreeMap<String, String>>,
}

/// A payload that is `null` is one.
fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(deserializer).map(Some)
}

impl Shown {
    fn without_content(letter: DeadLetter) -> Self {
        Self { letter, payload: None, payload_base64: None, attributes: None }
    }

    fn with(self, Content { payload, attributes }: Content) -> Self {
        let attributes = Some(attributes);
        match serde_json::from_slice(&payload) {
            Ok(json) => Self { payload: Some(json), attributes, ..self },
            Err(_) => Self { payload_base64: Some(STANDARD.encode(payload)), attributes, ..self },
        }
    }
}

/// One dead letter, and perhaps what it carries.
///
/// With `payload` that somebody looked is recorded, with the reason.
#[utoipa::path(
    get,
    path = "/dead-letters/{id}",
    operation_id = "showDeadLetter",
    tag = "dead letters",
    params(("id" = Uuid, Path, description = "Of a dead letter."), Look, IfNoneMatch),
    responses(
        (
            status = 200,
            description = "The letter. Its tag is for `If-Match`; there is none with `payload`.",
            body = Shown,
            headers(("ETag" = Option<String>, description = "Its tag."))
        ),
        (status = 304, description = "It is as it was seen.")
    ),
    extensions(("x-problems" = json!([Kind::NotFound])))
)]
pub(super) async fn show(
    State(admin): State<Admin>,
    asker: Asker,
    Path(id): Path<String>,
    look: Parameters<Look>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = letter_id(&id)?;
    let by = query(look)?.by(&asker)?;
    let unknown = || Problem::not_found(format!("there is no dead letter {id}"));
    let mut content = None;
    if let Some(by) = by {
        content = Some(dead_letters::reveal(&admin.pool, id, &by).await?.ok_or_else(unknown)?);
    }
    let letter = dead_letters::get(&admin.pool, id).await?.ok_or_else(unknown)?;
    Ok(match content {
        // That somebody looks is recorded, so that he is shown what he looks at.
        Some(content) => axum::Json(Shown::without_content(letter).with(content)).into_response(),
        None => tagged(&headers, &letter),
    })
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RetryOne {
    /// Events a second at most, of each worker.
    #[serde(default = "rate")]
    #[schema(minimum = 0.1, maximum = 100000)]
    rate: f64,
    #[serde(default)]
    #[schema(max_length = 1000, pattern = "^[^\\x00]*$")]
    actor: String,
    #[serde(default)]
    #[schema(max_length = 1000, pattern = "^[^\\x00]*$")]
    reason: String,
}

fn rate() -> f64 {
    RATE
}

/// Tries one dead letter again, and what waits behind it.
#[utoipa::path(
    post,
    path = "/dead-letters/{id}/retry",
    operation_id = "retryDeadLetter",
    tag = "dead letters",
    params(("id" = Uuid, Path, description = "Of a dead letter."), IdempotencyKey, IfMatch),
    request_body = Option<RetryOne>,
    responses(
        (
            status = 202,
            description = "It is asked for.",
            body = Operation,
            headers(("Location" = String, description = "Where the operation is."))
        )
    ),
    extensions(("x-problems" = json!([Kind::NotFound, Kind::Conflict, Kind::Changed])))
)]
pub(super) async fn retry(
    State(admin): State<Admin>,
    asker: Asker,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let id = letter_id(&id)?;
    // There is nothing that it must say.
    let request: RetryOne = parse(if body.is_empty() { b"{}" } else { &body })?;
    let rate = checked(request.rate)?;
    let by = asker.signs(request.actor, request.reason);
    by.check()?;
    let key = idempotency_key(&headers)?;
    admin.decidable(id).await?;
    let operation =
        dead_letters::retry_one(&admin.pool, id, rate, seen(&headers)?.as_ref(), &by, key.as_deref()).await?;
    Ok(operations::accepted(operations::find(&admin, operation).await?))
}

/// What is asked for, of one letter that was looked at.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DiscardOne {
    /// As it was shown; `null` where it was `null`.
    pub event_id: Option<Uuid>,
    /// As it was shown.
    #[schema(pattern = "^[^\\x00]*$")]
    pub error: String,
    #[schema(min_length = 1, max_length = 1000, pattern = "^[^\\x00]*$")]
    pub actor: String,
    #[schema(min_length = 1, max_length = 1000, pattern = "^[^\\x00]*$")]
    pub reason: String,
}

/// Goes on without one dead letter.
///
/// The read model will lack its event.
#[utoipa::path(
    post,
    path = "/dead-letters/{id}/discard",
    operation_id = "discardDeadLetter",
    tag = "dead letters",
    params(("id" = Uuid, Path, description = "Of a dead letter."), IdempotencyKey, IfMatch),
    request_body = DiscardOne,
    responses(
        (
            status = 202,
            description = "It is asked for.",
            body = Operation,
            headers(("Location" = String, description = "Where the operation is."))
        )
    ),
    extensions(("x-problems" = json!([Kind::NotFound, Kind::Conflict, Kind::Changed])))
)]
pub(super) async fn discard(
    State(admin): State<Admin>,
    asker: Asker,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let id = letter_id(&id)?;
    let DiscardOne { event_id, error, actor, reason } = parse(&body)?;
    let by = asker.signs(actor, reason);
    by.require()?;
    if error.contains('\0') {
        return Err(Problem::invalid("error", "no NUL: no error has one"));
    }
    let discard =
        Discard { id, event_id, error, seen: seen(&headers)?, by, idempotency_key: idempotency_key(&headers)? };
    admin.decidable(id).await?;
    let operation = dead_letters::discard_one(&admin.pool, &discard).await?;
    Ok(operations::accepted(operations::find(&admin, operation).await?))
}

/// What is asked for, of many letters.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = DeadLetterBatch)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    #[serde(default)]
    pub action: Action,
    /// An empty one means all dead letters.
    #[serde(deserialize_with = "object")]
    pub filter: Filter,
    /// Only count, and say with which token to go on; write nothing.
    #[serde(default = "yes")]
    pub dry_run: bool,
    #[serde(default)]
    pub plan_token: Option<String>,
    #[serde(default = "max_items")]
    #[schema(minimum = 1, maximum = 10000)]
    pub max_items: i64,
    /// Events a second at most, of each worker.
    #[serde(default = "rate")]
    #[schema(minimum = 0.1, maximum = 100000)]
    pub rate: f64,
    #[serde(default)]
    #[schema(max_length = 1000, pattern = "^[^\\x00]*$")]
    pub actor: String,
    #[serde(default)]
    #[schema(max_length = 1000, pattern = "^[^\\x00]*$")]
    pub reason: String,
}

impl Batch {
    /// A dry run of a retry.
    pub fn of(filter: Filter) -> Self {
        Self {
            action: Action::Retry,
            filter,
            dry_run: true,
            plan_token: None,
            max_items: MAX_PLANNED,
            rate: RATE,
            actor: String::new(),
            reason: String::new(),
        }
    }
}

/// What may be done to many at once. Discarding is not: each needs to be looked at.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize, ToSchema)]
#[schema(as = BatchAction)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    #[default]
    Retry,
}

/// Ids of which it is said why they cannot be decided about, at most.
const SAID: usize = 10;

fn yes() -> bool {
    true
}

fn max_items() -> i64 {
    MAX_PLANNED
}

/// The answer to a dry run; otherwise it is an operation.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = BatchDryRun)]
pub struct DryRun {
    pub dry_run: bool,
    pub action: Action,
    pub filter: Filter,
    #[serde(flatten)]
    pub plan: Plan,
}

/// Tries many dead letters again, or plans it.
///
/// A dry run comes first; its token is that of exactly these letters.
#[utoipa::path(
    post,
    path = "/dead-letter-batches",
    operation_id = "createDeadLetterBatch",
    tag = "dead letters",
    params(IdempotencyKey),
    request_body = Batch,
    responses(
        (status = 200, description = "Of a dry run.", body = DryRun),
        (
            status = 202,
            description = "It is asked for.",
            body = Operation,
            headers(("Location" = String, description = "Where the operation is."))
        )
    ),
    extensions(("x-problems" = json!([Kind::Conflict, Kind::StalePlan, Kind::PlanRequired])))
)]
pub(super) async fn batch(
    State(admin): State<Admin>,
    asker: Asker,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let Batch { action, mut filter, dry_run, plan_token, max_items, rate, actor, reason } = parse(&body)?;
    admin.check("filter.", &filter)?;
    if !(1..=MAX_PLANNED).contains(&max_items) {
        return Err(Problem::invalid("max_items", format!("must be from 1 to {MAX_PLANNED}")));
    }
    let rate = checked(rate)?;
    let by = asker.signs(actor, reason);
    by.check()?;
    filter.not_of = admin.nobodys().await?;
    if let Some(name) = filter.projection.as_ref().filter(|name| filter.not_of.contains(name)) {
        return Err(Problem::invalid("filter.projection", names::nobodys(name)));
    }
    if dry_run {
        let plan = dead_letters::plan(&admin.pool, &filter, max_items).await?;
        if plan.selected == 0 {
            for id in filter.ids.iter().flatten().take(SAID) {
                admin.decidable(*id).await?;
            }
            admin.nothing_found("filter.", &filter).await?;
        }
        return Ok(axum::Json(DryRun { dry_run, action, filter, plan }).into_response());
    }
    let plan_token = plan_token.ok_or_else(Problem::plan_required)?;
    let retry = Retry { filter, plan_token, rate, by, idempotency_key: idempotency_key(&headers)? };
    let operation = dead_letters::retry(&admin.pool, &retry).await?;
    Ok(operations::accepted(operations::find(&admin, operation).await?))
}

fn letter_id(id: &str) -> Result<Uuid, Problem> {
    Uuid::try_parse(id).map_err(|_| Problem::not_found(format!("{id:?} is not the id of a dead letter")))
}

fn checked(rate: f64) -> Result<f64, Problem> {
    if (0.1..=100_000.0).contains(&rate) {
        Ok(rate)
    } else {
        Err(Problem::invalid("rate", "must be events per second, from 0.1 to 100000"))
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let detail = refused.to_string();
        match refused {
            Refused::Database(error) => error.into(),
            Refused::Unknown(_) => Self::not_found(detail),
            Refused::Decided { .. } | Refused::NothingLeft | Refused::NotRead { .. } => Self::conflict(detail),
            Refused::StalePlan => Self::of(Kind::StalePlan, detail),
            Refused::Changed { .. } | Refused::Unseen(_) => Self::of(Kind::Changed, detail),
            Refused::Operation(refused) => refused.into(),
        }
    }
}
