//! Decisions: retry and discard. Each is one transaction that writes the operation, the decision on every letter it is
//! about, and the line in the audit log.

use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::plan::upto;
use super::{DeadLetter, Filter, MAX_PLANNED};
use crate::audit::{self, By};

#[derive(Debug, Clone)]
pub struct Retry {
    pub filter: Filter,
    pub plan_token: String,
    /// Events a second, of each worker.
    pub rate: f64,
    pub by: By,
    pub idempotency_key: Option<String>,
}

/// What the person saw is part of the request, so that nobody discards something else than was looked at.
#[derive(Debug, Clone)]
pub struct Discard {
    pub id: Uuid,
    pub event_id: Option<Uuid>,
    pub error: String,
    pub by: By,
    pub idempotency_key: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("there is no dead letter {0}")]
    Unknown(Uuid),
    #[error("{decision} was decided about it already, in operation {operation}")]
    Decided { decision: String, operation: Uuid },
    #[error("the plan is of another selection: plan again")]
    StalePlan,
    #[error("nothing of the plan is left to do")]
    NothingLeft,
    /// What it is now.
    #[error("it is not what you have seen: event_id is {}, error is {error:?}", event_id.map_or("null".to_owned(), |id| id.to_string()))]
    Changed { event_id: Option<Uuid>, error: String },
    #[error("the Idempotency-Key was used for another request: operation {0}")]
    KeyReused(Uuid),
}

/// Decides that everything of a plan is tried again.
pub async fn retry(pool: &PgPool, retry: &Retry) -> Result<Uuid, Refused> {
    let upto = upto(&retry.filter, &retry.plan_token).ok_or(Refused::StalePlan)?;
    let letters = retry.filter.select(pool, None, Some(upto), true, MAX_PLANNED).await?;
    let ids: Vec<_> = letters.iter().map(|letter| letter.id).collect();
    let selection = json!({"filter": retry.filter, "plan_token": retry.plan_token});
    decide(pool, "retry", &ids, selection, Some(retry.rate), &retry.by, retry.idempotency_key.as_deref()).await
}

/// Decides that one letter is tried again.
pub async fn retry_one(
    pool: &PgPool,
    id: Uuid,
    rate: f64,
    by: &By,
    idempotency_key: Option<&str>,
) -> Result<Uuid, Refused> {
    let selection = json!({"filter": Filter::one(id)});
    match decide(pool, "retry", &[id], selection, Some(rate), by, idempotency_key).await {
        Err(Refused::NothingLeft) => Err(why_not(pool, id).await?),
        decided => decided,
    }
}

/// Decides that the fleet goes on without one letter, which stays among the discarded.
pub async fn discard_one(pool: &PgPool, discard: &Discard) -> Result<Uuid, Refused> {
    let selection = json!({"filter": Filter::one(discard.id), "event_id": discard.event_id, "error": discard.error});
    let key = discard.idempotency_key.as_deref();
    let mut tx = database::begin(pool).await?;
    if let Some(operation) = answered(&mut tx, key, "discard", &selection).await? {
        return Ok(operation);
    }
    let seen = sqlx::query!(
        "select event_id, error from parked_events where id = $1 and decision is null for update",
        discard.id
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(seen) = seen else { return Err(why_not(pool, discard.id).await?) };
    if seen.event_id != discard.event_id || seen.error != discard.error {
        return Err(Refused::Changed { event_id: seen.event_id, error: seen.error });
    }
    let operation = write(&mut tx, "discard", &[discard.id], &selection, None, &discard.by, key).await?;
    let operation = operation.ok_or(Refused::NothingLeft)?;
    tx.commit().await?;
    Ok(operation)
}

async fn decide(
    pool: &PgPool,
    decision: &str,
    ids: &[Uuid],
    selection: Value,
    rate: Option<f64>,
    by: &By,
    key: Option<&str>,
) -> Result<Uuid, Refused> {
    let mut tx = database::begin(pool).await?;
    if let Some(operation) = answered(&mut tx, key, decision, &selection).await? {
        return Ok(operation);
    }
    let operation = write(&mut tx, decision, ids, &selection, rate, by, key).await?.ok_or(Refused::NothingLeft)?;
    tx.commit().await?;
    Ok(operation)
}

/// The operation that this key has made before. Locks the key to the end of the transaction.
async fn answered(
    db: &mut PgConnection,
    key: Option<&str>,
    kind: &str,
    selection: &Value,
) -> Result<Option<Uuid>, Refused> {
    let Some(key) = key else { return Ok(None) };
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended($1, 0))", key).execute(&mut *db).await?;
    let before = sqlx::query!("select id, kind, selection from operations where idempotency_key = $1", key)
        .fetch_optional(db)
        .await?;
    match before {
        None => Ok(None),
        Some(before) if before.kind == kind && before.selection == *selection => Ok(Some(before.id)),
        Some(before) => Err(Refused::KeyReused(before.id)),
    }
}

/// Writes operation, decisions and audit; `None`, and nothing is to be kept, if no letter is left to decide about.
async fn write(
    db: &mut PgConnection,
    decision: &str,
    ids: &[Uuid],
    selection: &Value,
    rate: Option<f64>,
    by: &By,
    key: Option<&str>,
) -> sqlx::Result<Option<Uuid>> {
    let operation = Uuid::now_v7();
    sqlx::query!(
        "insert into operations (id, kind, selection, reason, actor, idempotency_key, selected, rate)
         values ($1, $2, $3, $4, $5, $6, 0, $7)",
        operation,
        decision,
        selection,
        by.reason,
        by.actor,
        key,
        rate
    )
    .execute(&mut *db)
    .await?;
    let selected = sqlx::query!(
        "with decided as (
             select id from parked_events where id = any($3) and decision is null order by id for update
         )
         update parked_events set decision = $1, operation_id = $2 from decided where parked_events.id = decided.id",
        decision,
        operation,
        ids
    )
    .execute(&mut *db)
    .await?
    .rows_affected();
    if selected == 0 {
        return Ok(None);
    }
    sqlx::query!("update operations set selected = $2 where id = $1", operation, selected as i64)
        .execute(&mut *db)
        .await?;
    audit::record(db, by, &format!("dead_letter.{decision}"), operation, selection).await?;
    Ok(Some(operation))
}

/// Why one letter cannot be decided about.
async fn why_not(pool: &PgPool, id: Uuid) -> sqlx::Result<Refused> {
    let letter: Option<DeadLetter> = super::get(pool, id).await?;
    Ok(match letter.and_then(|letter| letter.decision.zip(letter.operation_id)) {
        Some((decision, operation)) => Refused::Decided { decision, operation },
        None => Refused::Unknown(id),
    })
}
