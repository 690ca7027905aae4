//! Foreign events whose predecessors are still to come, and how long each has been waited for.
//!
//! Waiting is counted from when the workers first saw the event, by the database's clock, and only while somebody looks:
//! after an outage an event is as new as it was before, whenever it was published. Nothing here knows of messages.

use std::collections::HashMap;
use std::time::Duration;

use events::{AggregateId, EventId, Topic, Version};
use sqlx::PgPool;

/// What may count as waiting between two sightings. A message that is given back comes again sooner.
const SIGHT: Duration = Duration::from_secs(60);

/// Events of a topic that are waited for at a time. For more of them the time begins when there is room.
const MOST: i64 = 10_000;

/// Rows forgotten at a time.
const FORGOTTEN: i64 = 1000;

/// An event that is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Awaited {
    pub event_id: EventId,
    pub aggregate_id: AggregateId,
    pub version: Version,
}

/// These have been seen, and their predecessors have not: how long each has been waited for. An event that is not in the
/// answer is waited for from another time on.
pub async fn seen(pool: &PgPool, topic: &Topic, mut events: Vec<Awaited>) -> sqlx::Result<HashMap<EventId, Duration>> {
    events.sort_unstable();
    events.dedup_by_key(|event| event.event_id);
    forget(pool, topic).await?;
    let ids: Vec<_> = events.iter().map(|event| event.event_id.0).collect();
    let aggregates: Vec<_> = events.iter().map(|event| event.aggregate_id.0).collect();
    let versions: Vec<_> = events.iter().map(|event| event.version.0).collect();
    let rows =
        sqlx::query_file!("src/awaited/seen.sql", topic.name, &ids, &aggregates, &versions, MOST, SIGHT.as_secs_f64())
            .fetch_all(pool)
            .await?;
    let waited = |seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default();
    Ok(rows.into_iter().map(|row| (EventId(row.event_id), waited(row.waited_seconds))).collect())
}

/// These are waited for no longer.
pub async fn done(pool: &PgPool, topic: &Topic, events: &[EventId]) -> sqlx::Result<()> {
    let ids: Vec<_> = events.iter().map(|event| event.0).collect();
    sqlx::query!("delete from awaited_events where topic = $1 and event_id = any($2)", topic.name, &ids)
        .execute(pool)
        .await
        .map(drop)
}

/// Nobody has seen them for a day: they were adopted by another way, or their publisher gave up.
async fn forget(pool: &PgPool, topic: &Topic) -> sqlx::Result<()> {
    sqlx::query_file!("src/awaited/forgotten.sql", topic.name, FORGOTTEN).execute(pool).await.map(drop)
}
