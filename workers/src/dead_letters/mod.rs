//! Dead letters: what is parked, as people see it, and what they decide about it.
//!
//! A dead letter is the front of a sequence: the parked event of one aggregate in one projection, with the aggregate's
//! later events waiting behind it in the store. A parked message that is no event of the store stands alone. Deciding
//! is here, and changes nothing but the decision; [`redrive`](crate::redrive) makes it true.

mod decide;
pub(crate) mod decided;
pub mod discarded;
mod filter;
pub mod park;
mod plan;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use database::Lent;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

pub use decide::{Discard, Refused, Retry, discard_one, retry, retry_one};
pub use filter::Filter;
pub use plan::{Group, MAX_PLANNED, Plan, plan};

use crate::audit::{self, Attribution};

/// A dead letter as `GET /admin/v1/dead-letters` shows it: without its payload.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeadLetter {
    pub id: Uuid,
    pub topic: String,
    /// Which projection failed on it; `null` for a message that is no event of the store.
    pub projection: Option<String>,
    /// In which generation of it; `null` for a message.
    pub generation: Option<i32>,
    /// The class of the reason.
    #[schema(value_type = park::Reason)]
    pub reason: String,
    pub error: String,
    pub event_id: Option<Uuid>,
    pub event_type: Option<String>,
    pub aggregate_id: Option<Uuid>,
    pub event_version: Option<i32>,
    pub position: Option<i64>,
    /// The bus's own id of a message.
    pub message_id: Option<String>,
    pub payload_bytes: i32,
    /// Times that it was tried.
    pub attempts: i32,
    pub first_parked_at: DateTime<Utc>,
    pub last_parked_at: DateTime<Utc>,
    /// retry, discard: decided, and about to be done; `null`: nobody has decided.
    pub decision: Option<String>,
    /// The operation of the decision.
    pub operation_id: Option<Uuid>,
    /// Its generation is the one that is read; of a message, too, nothing else is known.
    #[serde(default = "yes")]
    pub is_read: bool,
    /// Events of the aggregate that wait behind it; `null` for a message.
    pub waiting: Option<i64>,
}

fn yes() -> bool {
    true
}

/// What a dead letter carries. Personal data may be in it, so that it is shown only on request, and the request is
/// recorded.
#[derive(Debug, Clone)]
pub struct Content {
    /// The message as it was received, or the event as the relay would publish it.
    pub payload: Vec<u8>,
    pub attributes: BTreeMap<String, String>,
}

/// The oldest first; `after` is the id of the last one seen.
pub async fn list(pool: &PgPool, filter: &Filter, after: Option<Uuid>, limit: i64) -> sqlx::Result<Vec<DeadLetter>> {
    filter.select(pool, after, None, false, limit).await
}

pub async fn get(pool: &PgPool, id: Uuid) -> sqlx::Result<Option<DeadLetter>> {
    Ok(Filter::one(id).select(pool, None, None, false, 1).await?.pop())
}

/// The payload, and a line in the audit log of who looked at it and why.
pub async fn reveal(pool: &PgPool, id: Uuid, by: &Attribution) -> sqlx::Result<Option<Content>> {
    let mut db = Lent::by(pool).await?;
    let mut tx = db.begin().await?;
    let row = sqlx::query!(
        r#"select payload, attributes as "attributes: Json<BTreeMap<String, String>>" from parked_events where id = $1"#,
        id
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    audit::record(&mut tx, by, "dead_letter.reveal", id, &serde_json::Value::Null).await?;
    tx.commit().await?;
    db.give_back();
    Ok(Some(Content { payload: row.payload, attributes: row.attributes.0 }))
}

/// Moves a letter that was decided to be discarded to those that are. Belongs into the transaction that goes on behind
/// it.
pub(crate) async fn discard(db: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query_file!("src/dead_letters/discard.sql", id).execute(db).await.map(drop)
}
