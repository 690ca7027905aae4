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
use uuid::Uuid;

use super::request::{Look, Parameters, idempotency_key, parse, query};
use super::{Admin, Problem, operations};
use crate::audit::Attribution;
use crate::dead_letters::park::Reason;
use crate::dead_letters::{self, Content, DeadLetter, Discard, Filter, MAX_PLANNED, Plan, Refused, Retry};

/// Dead letters of a page at most, and unless the request says otherwise.
const PAGE: i64 = 100;

/// Events a second that a retry applies, unless the request says otherwise.
const RATE: f64 = 1000.0;

/// Which are looked at; what is absent means any.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    pub projection: Option<String>,
    pub topic: Option<String>,
    pub reason: Option<Reason>,
    pub aggregate_id: Option<Uuid>,
    pub event_type: Option<String>,
    /// The `next` of the page before.
    pub after: Option<Uuid>,
    /// Of a page; at most, and if it is absent, 100.
    pub limit: Option<i64>,
}

/// The oldest first.
#[derive(Debug, Serialize, Deserialize)]
pub struct Page {
    pub dead_letters: Vec<DeadLetter>,
    /// `null`: this is the last page.
    pub next: Option<Uuid>,
}

pub(super) async fn list(
    State(admin): State<Admin>,
    listing: Parameters<Listing>,
) -> Result<axum::Json<Page>, Problem> {
    let Listing { projection, topic, reason, aggregate_id, event_type, after, limit } = query(listing)?;
    let limit = limit.unwrap_or(PAGE);
    if !(1..=PAGE).contains(&limit) {
        return Err(Problem::invalid("limit", format!("must be from 1 to {PAGE}")));
    }
    let filter = Filter { ids: None, projection, topic, reason, aggregate_id, event_type };
    admin.check("", &filter)?;
    let dead_letters = dead_letters::list(&admin.pool, &filter, after, limit).await?;
    if dead_letters.is_empty() && after.is_none() {
        admin.nothing_found("", &filter).await?;
    }
    let next = dead_letters.last().map(|last| last.id).filter(|_| dead_letters.len() as i64 == limit);
    Ok(axum::Json(Page { dead_letters, next }))
}

/// A letter. What it carries is absent unless it was asked for, and else JSON, digit for digit, if it is that.
#[derive(Debug, Serialize, Deserialize)]
pub struct Shown {
    #[serde(flatten)]
    pub letter: DeadLetter,
    #[serde(default, deserialize_with = "there", skip_serializing_if = "Option::is_none")]
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

pub(super) async fn show(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    look: Parameters<Look>,
) -> Result<axum::Json<Shown>, Problem> {
    let id = letter_id(&id)?;
    let by = query(look)?.by()?;
    let unknown = || Problem::not_found(format!("there is no dead letter {id}"));
    let mut content = None;
    if let Some(by) = by {
        content = Some(dead_letters::reveal(&admin.pool, id, &by).await?.ok_or_else(unknown)?);
    }
    let letter = dead_letters::get(&admin.pool, id).await?.ok_or_else(unknown)?;
    let shown = Shown::without_content(letter);
    Ok(axum::Json(match content {
        Some(content) => shown.with(content),
        None => shown,
    }))
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
    let by = Attribution { actor: request.actor, reason: request.reason };
    by.check()?;
    let key = idempotency_key(&headers)?;
    let operation = dead_letters::retry_one(&admin.pool, id, rate, &by, key.as_deref()).await?;
    Ok(operations::accepted(operations::find(&admin, operation).await?))
}

/// What is asked for, of one letter that was looked at.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscardOne {
    /// As it was shown; `null` where it was `null`.
    pub event_id: Option<Uuid>,
    /// As it was shown.
    pub error: String,
    pub actor: String,
    pub reason: String,
}

pub(super) async fn discard(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let id = letter_id(&id)?;
    let DiscardOne { event_id, error, actor, reason } = parse(&body)?;
    let by = Attribution { actor, reason };
    by.require()?;
    let discard = Discard { id, event_id, error, by, idempotency_key: idempotency_key(&headers)? };
    let operation = dead_letters::discard_one(&admin.pool, &discard).await?;
    Ok(operations::accepted(operations::find(&admin, operation).await?))
}

/// What is asked for, of many letters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    #[serde(default)]
    pub action: Action,
    /// An empty one means all dead letters.
    pub filter: Filter,
    /// Only count, and say with which token to go on; write nothing.
    #[serde(default = "yes")]
    pub dry_run: bool,
    #[serde(default)]
    pub plan_token: Option<String>,
    #[serde(default = "max_items")]
    pub max_items: i64,
    #[serde(default = "rate")]
    pub rate: f64,
    #[serde(default)]
    pub actor: String,
    #[serde(default)]
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
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    #[default]
    Retry,
}

fn yes() -> bool {
    true
}

fn max_items() -> i64 {
    MAX_PLANNED
}

/// The answer to a dry run; otherwise it is an [operation](crate::operations::Operation).
#[derive(Debug, Serialize, Deserialize)]
pub struct DryRun {
    pub dry_run: bool,
    pub action: Action,
    pub filter: Filter,
    #[serde(flatten)]
    pub plan: Plan,
}

pub(super) async fn batch(State(admin): State<Admin>, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    let Batch { action, filter, dry_run, plan_token, max_items, rate, actor, reason } = parse(&body)?;
    admin.check("filter.", &filter)?;
    if !(1..=MAX_PLANNED).contains(&max_items) {
        return Err(Problem::invalid("max_items", format!("must be from 1 to {MAX_PLANNED}")));
    }
    let rate = checked(rate)?;
    let by = Attribution { actor, reason };
    by.check()?;
    if dry_run {
        let plan = dead_letters::plan(&admin.pool, &filter, max_items).await?;
        if plan.selected == 0 {
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
            Refused::Decided { .. } | Refused::NothingLeft => Self::conflict(detail),
            Refused::StalePlan => Self::stale("urn:fleet:stale-plan", "The plan does not fit", detail),
            Refused::Changed { .. } => Self::stale("urn:fleet:changed", "It has changed since you looked", detail),
            Refused::Operation(refused) => refused.into(),
        }
    }
}
