//! One aggregate, looked at: its events without what they carry, and how far each projection is that listens to it.

use chrono::{DateTime, Utc};
use events::TraceContext;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::types::Json;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::pause::Pause;

/// Discarded letters shown of each projection at most: one more than so says that there are more.
const DISCARDED: usize = 100;

/// Bytes of stored metadata above which no trace is looked for in it: it would have to be unpacked whole.
const METADATA: i32 = 64 << 10;

/// An event, without what it carries.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = EventHeader)]
pub struct Event {
    pub version: i32,
    pub position: i64,
    pub event_id: Uuid,
    pub event_type: String,
    pub aggregate_type: String,
    pub occurred_at: DateTime<Utc>,
    /// When it was appended, by the database's clock.
    pub recorded_at: DateTime<Utc>,
    /// Of the call that appended it, if its metadata has a trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

/// How far a projection is with the aggregate.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = AggregateProgress)]
pub struct Progress {
    pub projection: String,
    /// Up to this version everything is applied, skipped or discarded.
    pub applied_version: i32,
    pub held: bool,
    /// The first event that is not; `null`: nothing is left.
    pub next: Option<Next>,
    /// At which it is held.
    pub dead_letter: Option<Letter>,
    /// What people decided to go on without, at most 100.
    pub discarded: Vec<Discarded>,
    pub more_discarded: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = NextEvent)]
pub struct Next {
    pub version: i32,
    pub position: i64,
    pub event_type: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = HoldingLetter)]
pub struct Letter {
    pub id: Uuid,
    pub version: Option<i32>,
    pub reason: String,
    pub error: String,
    pub attempts: i32,
    /// retry, discard: decided, and about to be done; `null`: nobody has decided.
    pub decision: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = DiscardedEvent)]
pub struct Discarded {
    pub id: Uuid,
    pub version: Option<i32>,
    pub reason: String,
    pub error: String,
    /// In which it was decided.
    pub operation_id: Uuid,
    pub discarded_at: DateTime<Utc>,
}

/// Its events after a version, in their order. A row whose metadata is broken costs the page its traces, and nothing else.
pub async fn events(pool: &PgPool, aggregate_id: Uuid, after: i32, limit: i64) -> sqlx::Result<Vec<Event>> {
    match page(pool, aggregate_id, after, limit, true).await {
        Err(error) if database::is_unreadable(&error) => page(pool, aggregate_id, after, limit, false).await,
        read => read,
    }
}

async fn page(pool: &PgPool, aggregate_id: Uuid, after: i32, limit: i64, traces: bool) -> sqlx::Result<Vec<Event>> {
    let rows = sqlx::query_file!("src/inspect/events.sql", aggregate_id, after, limit, traces, METADATA);
    let rows = rows.fetch_all(pool).await?;
    Ok(rows
        .into_iter()
        .map(|row| Event {
            version: row.version,
            position: row.position,
            event_id: row.event_id,
            event_type: row.event_type,
            aggregate_type: row.aggregate_type,
            occurred_at: row.occurred_at,
            recorded_at: row.recorded_at,
            trace_id: row.traceparent.and_then(|text| trace_id(&text)),
        })
        .collect())
}

/// The trace of a `traceparent`, as people search for it.
fn trace_id(traceparent: &str) -> Option<String> {
    TraceContext::parse(traceparent).map(|context| format!("{:032x}", context.trace_id()))
}

/// How far each of these projections is with the aggregate.
pub async fn progress(pool: &PgPool, aggregate_id: Uuid, projections: &[&str]) -> sqlx::Result<Vec<Progress>> {
    let limit = DISCARDED as i64 + 1;
    let rows = sqlx::query_file!("src/inspect/progress.sql", aggregate_id, projections as &[&str], limit);
    let rows = rows.fetch_all(pool).await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let next = row.next_version.zip(row.next_position).zip(row.next_type);
            let letter = row.letter_id.zip(row.letter_reason).zip(row.letter_error).zip(row.letter_attempts);
            let (version, decision) = (row.letter_version, row.letter_decision);
            let mut discarded = row.discarded.0;
            let more_discarded = discarded.len() > DISCARDED;
            discarded.truncate(DISCARDED);
            let pause = Pause::of(row.pause_reason, row.paused_by, row.paused_at, row.until);
            Progress {
                projection: row.projection,
                applied_version: row.applied_version,
                held: row.held,
                next: next.map(|((version, position), event_type)| Next { version, position, event_type }),
                dead_letter: letter.map(|(((id, reason), error), attempts)| Letter {
                    id,
                    version,
                    reason,
                    error,
                    attempts,
                    decision,
                }),
                discarded,
                more_discarded,
                paused: pause.filter(|_| row.paused),
            }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_what_its_standard_says() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(trace_id(&format!("00-{id}-b7ad6b7169203331-01")).as_deref(), Some(id));
        assert_eq!(trace_id(&format!("00-{id}")), None);
        assert_eq!(trace_id("anything-else"), None);
    }
}
