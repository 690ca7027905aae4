//! What the fleet goes on without, without what it carried.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

/// A letter that a person has discarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = DiscardedLetter)]
pub struct Discarded {
    /// That of the dead letter.
    pub id: Uuid,
    pub topic: String,
    /// `null`: it was a message that no projection was given.
    pub projection: Option<String>,
    pub generation: Option<i32>,
    /// Why it was parked: the class, and the error.
    pub reason: String,
    pub error: String,
    pub event_id: Option<Uuid>,
    pub aggregate_id: Option<Uuid>,
    pub event_version: Option<i32>,
    pub position: Option<i64>,
    pub first_parked_at: DateTime<Utc>,
    pub discarded_at: DateTime<Utc>,
    /// Who discarded it, and why.
    pub actor: String,
    pub because: String,
    pub operation_id: Uuid,
}

/// Those that were parked last come first; `before` is the id of the last one seen.
///
/// # Errors
/// The database's.
pub async fn list(pool: &PgPool, before: Option<Uuid>, limit: i64) -> sqlx::Result<Vec<Discarded>> {
    sqlx::query_as!(
        Discarded,
        r#"select letter.id, letter.topic, letter.projection, letter.generation, letter.reason, letter.error, letter.event_id,
               letter.aggregate_id, letter.event_version, letter.position, letter.first_parked_at, letter.discarded_at,
               operation.actor, operation.reason as because, letter.operation_id
           from discarded_events as letter
           join operations as operation on operation.id = letter.operation_id
           where $1::uuid is null or letter.id < $1
           order by letter.id desc
           limit $2"#,
        before,
        limit
    )
    .fetch_all(pool)
    .await
}
