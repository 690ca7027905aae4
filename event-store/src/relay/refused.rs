//! What the bus never took, as people look at it. No relay needs it.

use chrono::{DateTime, Utc};
use events::Position;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

/// A message that consumers of the topic do not get from the bus. The read models have its event from the sweep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusedMessage {
    pub topic: String,
    pub position: i64,
    /// The bus's own words, or which of its limits the message is beyond.
    pub reason: String,
    pub refused_at: DateTime<Utc>,
    /// These are `null` if the event is no longer there.
    pub event_id: Option<Uuid>,
    pub aggregate_id: Option<Uuid>,
    pub event_version: Option<i32>,
    pub event_type: Option<String>,
}

/// The latest positions first; `before` is the last one seen. More than `limit` only where several topics have refused the
/// event of the last position.
pub async fn list(
    pool: &PgPool,
    topic: Option<&str>,
    before: Option<Position>,
    limit: i64,
) -> sqlx::Result<Vec<RefusedMessage>> {
    let before = before.map(|position| position.0);
    sqlx::query_file_as!(RefusedMessage, "src/relay/refused.sql", topic, before, limit).fetch_all(pool).await
}
