//! Reading the store.
//!
//! Pages are windows of positions, not counts of rows: each query does a bounded amount of work, however rare the
//! wanted events are, and a window that is read without a filter proves itself complete by its number of rows.

use chrono::{DateTime, Utc};
use events::{AggregateId, EventId, Metadata, Payload, Position, Recorded, Version};
use futures::TryStreamExt;
use serde_json::value::RawValue;
use sqlx::PgExecutor;
use sqlx::types::Json;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// Promise 2 is broken: stop, and find out who deleted events.
    #[error("positions {after} to {upto} should hold {expected} events and hold {found}: the store has a gap")]
    Gap { after: Position, upto: Position, expected: i64, found: i64 },
}

/// Which events a reader wants. Empty lists mean all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub aggregate_types: Vec<String>,
    pub event_types: Vec<String>,
    pub aggregate_ids: Vec<AggregateId>,
}

impl Filter {
    pub fn aggregate_types(types: &[&str]) -> Self {
        Self { aggregate_types: types.iter().map(|&name| name.to_owned()).collect(), ..Self::default() }
    }

    fn is_all(&self) -> bool {
        *self == Self::default()
    }
}

/// The events of a window of positions.
#[derive(Debug)]
pub struct Page {
    pub events: Vec<Recorded<Payload>>,
    /// Everything wanted up to here is in the page or was in one before it.
    pub upto: Position,
}

/// Bytes of event data after which a page ends early, so that a run of large events does not fill the memory.
const PAGE_BYTES: usize = 32 << 20;

/// The last position of the store; everything up to it can be read.
///
/// Positions are gapless and rise in commit order, so that it is the highest in the index. The head row says the same, but
/// its older versions pile up while somebody holds a snapshot, and whoever looks for the newest goes through them all.
pub async fn head(db: impl PgExecutor<'_>) -> sqlx::Result<Position> {
    let head = sqlx::query_scalar!(r#"select coalesce(max(position), 0) as "position!" from events"#);
    head.fetch_one(db).await.map(Position)
}

/// What `filter` wants of the positions after `after`, up to `after + window`, the head, or what fits into memory.
/// `head` must have been read before, in a statement of its own.
pub async fn page(
    db: impl PgExecutor<'_>,
    after: Position,
    head: Position,
    window: i64,
    filter: &Filter,
) -> Result<Page, Error> {
    let upto = Position(head.0.min(after.0.saturating_add(window)));
    if upto <= after {
        return Ok(Page { events: Vec::new(), upto: after });
    }
    let aggregate_ids: Vec<_> = filter.aggregate_ids.iter().map(|id| id.0).collect();
    let mut rows = sqlx::query_file_as!(
        Row,
        "src/read/page.sql",
        after.0,
        upto.0,
        &filter.aggregate_types,
        &filter.event_types,
        &aggregate_ids
    )
    .fetch(db);
    let mut page = Page { events: Vec::new(), upto };
    let mut bytes = 0;
    while let Some(row) = rows.try_next().await? {
        let event = Recorded::<Payload>::from(row);
        bytes += event.data.event_data.get().len();
        page.upto = event.position;
        page.events.push(event);
        if bytes >= PAGE_BYTES {
            break;
        }
    }
    if bytes < PAGE_BYTES {
        page.upto = upto;
    }
    let (expected, found) = (page.upto.0 - after.0, page.events.len() as i64);
    if filter.is_all() && found != expected {
        return Err(Error::Gap { after, upto: page.upto, expected, found });
    }
    Ok(page)
}

/// One aggregate's events from version `from` to `to`, at most `limit` of them.
pub async fn aggregate(
    db: impl PgExecutor<'_>,
    aggregate_id: AggregateId,
    from: Version,
    to: Version,
    limit: i64,
) -> sqlx::Result<Vec<Recorded<Payload>>> {
    let rows =
        sqlx::query_file_as!(Row, "src/read/aggregate.sql", aggregate_id.0, from.0, to.0, limit).fetch_all(db).await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// For each aggregate its versions from `from` to `to`, and of each at most `limit`: what is missing before events
/// that came early.
pub async fn ranges(
    db: impl PgExecutor<'_>,
    wanted: &[(AggregateId, Version, Version)],
    limit: i32,
) -> sqlx::Result<Vec<Recorded<Payload>>> {
    let ids: Vec<_> = wanted.iter().map(|(id, _, _)| id.0).collect();
    let from: Vec<_> = wanted.iter().map(|(_, from, _)| from.0).collect();
    let to: Vec<_> = wanted.iter().map(|(_, from, to)| to.0.min(from.0.saturating_add(limit - 1))).collect();
    let rows = sqlx::query_file_as!(Row, "src/read/ranges.sql", &ids, &from, &to).fetch_all(db).await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// The events with these ids, in no order; ids that the store does not know are absent.
pub async fn by_id(db: impl PgExecutor<'_>, ids: &[EventId]) -> sqlx::Result<Vec<Recorded<Payload>>> {
    let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query_file_as!(Row, "src/read/by_id.sql", &ids).fetch_all(db).await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// The position before the event that was recorded first of those recorded at `time` or later; the head if there is none.
///
/// One step in the index on `created_at`. If the database's clock was set back over `time`, there are two stretches of
/// positions whose events say to be of that time: this is before the event with the earliest time, and what is of a later
/// time in the other stretch may lie before it. Who must miss nothing asks for a time before the clock was set back.
pub async fn before_time(db: impl PgExecutor<'_>, time: DateTime<Utc>) -> sqlx::Result<Position> {
    let first = sqlx::query_file_scalar!("src/read/before_time.sql", time);
    first.fetch_one(db).await.map(Position)
}

/// The columns of every statement in `read/`.
struct Row {
    position: i64,
    event_id: uuid::Uuid,
    aggregate_id: uuid::Uuid,
    aggregate_type: String,
    event_type: String,
    event_version: i32,
    event_data: Json<Box<RawValue>>,
    metadata: Json<Metadata>,
    occurred_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
}

impl From<Row> for Recorded<Payload> {
    fn from(row: Row) -> Self {
        Self {
            event_id: EventId(row.event_id),
            aggregate_id: AggregateId(row.aggregate_id),
            version: Version(row.event_version),
            position: Position(row.position),
            occurred_at: row.occurred_at,
            recorded_at: row.created_at,
            data: Payload {
                aggregate_type: row.aggregate_type,
                event_type: row.event_type,
                event_data: row.event_data.0,
                metadata: row.metadata.0,
            },
        }
    }
}
