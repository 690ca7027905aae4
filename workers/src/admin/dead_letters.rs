//! `/admin/v1/dead-letters`: look, try again, go on without.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::request::{Asked, idempotency_key, parse, query};
use super::{Admin, Problem, operations};
use crate::audit::By;
use crate::dead_letters::park::Reason;
use crate::dead_letters::{self, Content, DeadLetter, Discard, Filter, MAX_PLANNED, Plan, Refused, Retry};

/// Dead letters of a page at most, and unless the request says otherwise.
const PAGE: i64 = 100;

/// Events a second that a retry applies, unless the request says otherwise.
const RATE: f64 = 1000.0;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listing {
    projection: Option<String>,
    topic: Option<String>,
    reason: Option<Reason>,
    aggregate_id: Option<Uuid>,
    event_type: Option<String>,
    /// The `next` of the page before.
    after: Option<Uuid>,
    #[serde(default = "page")]
    limit: i64,
}

fn page() -> i64 {
    PAGE
}

#[derive(Debug, Serialize)]
pub(super) struct Page {
    dead_letters: Vec<DeadLetter>,
    /// `null`: this is the last page.
    next: Option<Uuid>,
}

pub(super) async fn list(State(admin): State<Admin>, listing: Asked<Listing>) -> Result<Json<Page>, Problem> {
    let Listing { projection, topic, reason, aggregate_id, event_type, after, limit } = query(listing)?;
    if !(1..=PAGE).contains(&limit) {
        return Err(Problem::invalid("limit", format!("must be from 1 to {PAGE}")));
    }
    let filter = Filter { ids: None, projection, topic, reason, aggregate_id, event_type };
    filter.check(admin.catalogue.topics())?;
    let dead_letters = dead_letters::list(&admin.pool, &filter, after, limit).await?;
    let next = dead_letters.last().map(|last| last.id).filter(|_| dead_letters.len() as i64 == limit);
    Ok(Json(Page { dead_letters, next }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Look {
    /// Show the payload as well; needs `actor` and `reason`, which are recorded.
    #[serde(default)]
    payload: bool,
    #[serde(default)]
    actor: String,
    #[serde(default)]
    reason: String,
}

#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    letter: DeadLetter,
    #[serde(flatten)]
    content: Option<Revealed>,
}

/// The payload as JSON if it is that, else as base64.
#[derive(Debug, Serialize)]
struct Revealed {
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    attributes: BTreeMap<String, String>,
}

impl From<Content> for Revealed {
    fn from(Content { payload, attributes }: Content) -> Self {
        match serde_json::from_slice(&payload) {
            Ok(json) => Self { payload: Some(json), payload_base64: None, attributes },
            Err(_) => Self { payload: None, payload_base64: Some(STANDARD.encode(payload)), attributes },
        }
    }
}

pub(super) async fn show(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    look: Asked<Look>,
) -> Result<Response, Problem> {
    let id = letter_id(&id)?;
    let look = query(look)?;
    let unknown = || Problem::not_found(format!("there is no dead letter {id}"));
    let mut content = None;
    if look.payload {
        let by = By { actor: look.actor, reason: look.reason };
        by.require()?;
        content = Some(dead_letters::reveal(&admin.pool, id, &by).await?.ok_or_else(unknown)?.into());
    }
    let letter = dead_letters::get(&admin.pool, id).await?.ok_or_else(unknown)?;
    Ok(Json(Shown { letter, content }).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryOne {
    #[serde(default = "rate")]
    rate: f64,
    #[serde(default)]
    actor: String,
    #[serde(default)]
    reason: String,
}

fn rate() -> f64 {
    RATE
}

pub(super) async fn retry(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let id = letter_id(&id)?;
    // There is nothing that it must say.
    let request: RetryOne = parse(if body.is_empty() { b"{}" } else { &body })?;
    let rate = checked(request.rate)?;
    let by = By { actor: request.actor, reason: request.reason };
    by.check()?;
    let key = idempotency_key(&headers)?;
    let operation = dead_letters::retry_one(&admin.pool, id, rate, &by, key.as_deref()).await?;
    Ok(operations::accepted(operations::find(&admin, operation).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiscardOne {
    /// As it was shown; `null` where it was `null`.
    event_id: Option<Uuid>,
    /// As it was shown.
    error: String,
    actor: String,
    reason: String,
}

pub(super) async fn discard(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let id = letter_id(&id)?;
    let DiscardOne { event_id, error, actor, reason } = parse(&body)?;
    let by = By { actor, reason };
    by.require()?;
    let discard = Discard { id, event_id, error, by, idempotency_key: idempotency_key(&headers)? };
    let operation = dead_letters::discard_one(&admin.pool, &discard).await?;
    Ok(operations::accepted(operations::find(&admin, operation).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    #[serde(default)]
    action: Action,
    /// An empty one means all dead letters.
    filter: Filter,
    /// Only count, and say with which token to go on; write nothing.
    #[serde(default = "yes")]
    dry_run: bool,
    #[serde(default)]
    plan_token: Option<String>,
    #[serde(default = "max_items")]
    max_items: i64,
    #[serde(default = "rate")]
    rate: f64,
    #[serde(default)]
    actor: String,
    #[serde(default)]
    reason: String,
}

/// What may be done to many at once. Discarding is not: each needs to be looked at.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    #[default]
    Retry,
}

fn yes() -> bool {
    true
}

fn max_items() -> i64 {
    MAX_PLANNED
}

#[derive(Debug, Serialize)]
struct DryRun {
    dry_run: bool,
    action: Action,
    filter: Filter,
    #[serde(flatten)]
    plan: Plan,
}

pub(super) async fn batch(State(admin): State<Admin>, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    let Batch { action, filter, dry_run, plan_token, max_items, rate, actor, reason } = parse(&body)?;
    filter
        .check(admin.catalogue.topics())
        .map_err(|invalid| Problem::invalid(format!("filter.{}", invalid.field), invalid.problem))?;
    if !(1..=MAX_PLANNED).contains(&max_items) {
        return Err(Problem::invalid("max_items", format!("must be from 1 to {MAX_PLANNED}")));
    }
    let rate = checked(rate)?;
    let by = By { actor, reason };
    by.check()?;
    if dry_run {
        let plan = dead_letters::plan(&admin.pool, &filter, max_items).await?;
        return Ok(Json(DryRun { dry_run, action, filter, plan }).into_response());
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
            Refused::Decided { .. } | Refused::NothingLeft => Self::conflict(detail),
            Refused::StalePlan => Self::stale("urn:fleet:stale-plan", "The plan does not fit", detail),
            Refused::Changed { .. } => Self::stale("urn:fleet:changed", "It has changed since you looked", detail),
            Refused::Operation(refused) => refused.into(),
        }
    }
}
