//! `POST /admin/v1/prunes`: forgets bookkeeping that is old.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::Asker;
use super::request::{IdempotencyKey, idempotency_key, parse};
use super::{Admin, Kind, Problem};
use crate::invalid::Invalid;
use crate::object::object;
use crate::retention::{self, Old, Pruned, Refused, Retention};

/// What is asked for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Prune)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Days for which each table is kept, 0 for ever; what is absent is the default, not what an event store is set to.
    #[serde(default, deserialize_with = "object")]
    pub keep: Retention,
    /// Only count, and say with which token to go on; write nothing.
    #[serde(default = "yes")]
    pub dry_run: bool,
    #[serde(default)]
    pub plan_token: Option<String>,
    #[serde(default)]
    #[schema(max_length = 1000, pattern = "^[^\\x00]*$")]
    pub actor: String,
    #[serde(default)]
    #[schema(max_length = 1000, pattern = "^[^\\x00]*$")]
    pub reason: String,
}

/// What is answered.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what is answered")]
enum Answer {
    DryRun(DryRun),
    Pruned(Pruned),
}

fn yes() -> bool {
    true
}

/// The answer to a dry run; otherwise it is what was [pruned](retention::Pruned).
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = PruneDryRun)]
pub struct DryRun {
    pub dry_run: bool,
    pub keep: Retention,
    pub old: Vec<Old>,
    /// What is old as of now, and nothing else, is pruned with it.
    pub plan_token: String,
    pub observed_at: DateTime<Utc>,
}

/// Forgets bookkeeping that is old, or says how much that would be.
#[utoipa::path(
    post,
    path = "/prunes",
    operation_id = "prune",
    tag = "operations",
    params(IdempotencyKey),
    request_body = Request,
    responses((status = 200, description = "Of a dry run, what is old; else what was pruned.", body = inline(Answer))),
    extensions(("x-problems" = json!([Kind::StalePlan, Kind::PlanRequired])))
)]
pub(super) async fn create(
    State(admin): State<Admin>,
    asker: Asker,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let Request { keep, dry_run, plan_token, actor, reason } = parse(&body)?;
    keep.check().map_err(|Invalid { field, problem }| Problem::invalid(format!("keep.{field}"), problem))?;
    let by = asker.signs(actor, reason);
    let now = retention::now(&admin.pool).await?;
    if dry_run {
        by.check()?;
        let old = retention::old(&admin.pool, &keep, now).await?;
        return Ok(Json(DryRun { dry_run, keep, old, plan_token: token(&keep, now), observed_at: now }).into_response());
    }
    by.require()?;
    let plan_token = plan_token.ok_or_else(Problem::plan_required)?;
    let as_of = as_of(&keep, &plan_token).filter(|as_of| *as_of <= now).ok_or_else(|| {
        let detail = "the plan is of other days, or is none: plan again".to_owned();
        Problem::of(Kind::StalePlan, detail)
    })?;
    let key = idempotency_key(&headers)?;
    Ok(Json(retention::prune(&admin.pool, &keep, as_of, &by, key.as_deref()).await?).into_response())
}

/// When the plan was made, and for how many days.
fn token(keep: &Retention, now: DateTime<Utc>) -> String {
    let Retention { idempotency_keys, operations, discarded_events, audit_log } = keep;
    format!("{}-{idempotency_keys}-{operations}-{discarded_events}-{audit_log}", now.timestamp_micros())
}

fn as_of(keep: &Retention, plan_token: &str) -> Option<DateTime<Utc>> {
    let as_of = DateTime::from_timestamp_micros(plan_token.split('-').next()?.parse().ok()?)?;
    (token(keep, as_of) == plan_token).then_some(as_of)
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Database(error) => error.into(),
            reused @ Refused::KeyReused => Self::key_reused(reused.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_of_its_plan_only() {
        let (keep, now) =
            (Retention::default(), DateTime::from_timestamp_micros(1_700_000_000_123_456).expect("a time"));
        let said = token(&keep, now);
        assert_eq!(as_of(&keep, &said), Some(now));
        assert_eq!(as_of(&Retention { operations: 1, ..keep }, &said), None);
        for wrong in ["", "-", "x-35-180-365-1095", "1700000000123456", "9223372036854775807-35-180-365-1095"] {
            assert_eq!(as_of(&keep, wrong), None, "{wrong}");
        }
    }
}
