//! Reading the store.
//!
//! Pages are windows of positions, not counts of rows: each query does a bounded amount of work, however rare the
//! wanted events are, and a window that is read without a filter proves itself complete by its number of rows.
//!
//! No answer has more bytes than its [budget](BUDGET) or than one event, and an event that is too large for anybody is
//! named instead of given ([`Unreadable`]). Postgres decides that before it prints anything.

mod budget;
pub mod careful;
mod part;

use chrono::{DateTime, Utc};
use events::{AggregateId, EventId, Payload, Position, Recorded, Version};
use futures::TryStreamExt;
use sqlx::PgExecutor;

use budget::Row;
pub use budget::{BUDGET, READABLE, Unreadable};

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
    /// Only the aggregates of one share.
    pub share: Option<Share>,
}

/// One of so many shares of all aggregates, by the hash of the id with which Postgres partitions tables: it stays what it is
/// when Postgres is replaced by a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// From 0.
    pub part: i32,
    pub of: i32,
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
    pub unreadable: Vec<Unreadable>,
    /// Everything wanted up to here is in the page or was in one before it. Before the end of the window if the rest did
    /// not fit.
    pub upto: Position,
    /// How many bytes of data and metadata its events have.
    pub bytes: i64,
}

/// The beginning of what was wanted, in order of aggregate and version.
#[derive(Debug, Default)]
pub struct Part {
    pub events: Vec<Recorded<Payload>>,
    pub unreadable: Vec<Unreadable>,
    /// What comes after it: to be asked for again.
    pub rest: Vec<Range>,
}

/// Events found by their ids, in no order.
#[derive(Debug, Default)]
pub struct Found {
    pub events: Vec<Recorded<Payload>>,
    pub unreadable: Vec<Unreadable>,
    /// In the store, but not here, because they did not fit: to be asked for again. Never all of what was asked for.
    pub rest: Vec<EventId>,
}

/// A range of versions of an aggregate, both ends included.
pub type Range = (AggregateId, Version, Version);

/// The last position of the store; everything up to it can be read.
///
/// Positions are gapless and rise in commit order, so that it is the highest in the index. The head row says the same, but
/// its older versions pile up while somebody holds a snapshot, and whoever looks for the newest goes through them all.
pub async fn head(db: impl PgExecutor<'_>) -> sqlx::Result<Position> {
    let head = sqlx::query_scalar!(r#"select coalesce(max(position), 0) as "position!" from events"#);
    head.fetch_one(db).await.map(Position)
}

/// The types of the latest `events`, in the order of their names.
pub async fn latest_event_types(db: impl PgExecutor<'_>, events: i64) -> sqlx::Result<Vec<String>> {
    let types = sqlx::query_scalar!(
        "select distinct event_type
         from (select event_type from events order by position desc limit $1) as latest
         order by event_type",
        events
    );
    types.fetch_all(db).await
}

/// What `filter` wants of the positions after `after`, up to `after + window`, the head, or what fits.
/// `head` must have been read before, in a statement of its own.
pub async fn page(
    db: impl PgExecutor<'_>,
    after: Position,
    head: Position,
    window: i64,
    filter: &Filter,
) -> Result<Page, Error> {
    let upto = Position(head.0.min(after.0.saturating_add(window)));
    let mut page = Page { events: Vec::new(), unreadable: Vec::new(), upto: upto.max(after), bytes: 0 };
    if upto <= after {
        return Ok(page);
    }
    let aggregate_ids: Vec<_> = filter.aggregate_ids.iter().map(|id| id.0).collect();
    let mut rows = sqlx::query_file_as!(
        Row,
        "src/read/page.sql",
        after.0,
        upto.0,
        &filter.aggregate_types,
        &filter.event_types,
        &aggregate_ids,
        BUDGET,
        READABLE,
        filter.share.map_or(1, |share| share.of),
        filter.share.map_or(0, |share| share.part)
    )
    .fetch(db);
    while let Some(row) = rows.try_next().await? {
        let bytes = row.bytes;
        match row.into() {
            budget::Found::Event(event) => {
                page.events.push(event);
                page.bytes += i64::from(bytes.unwrap_or_default());
            }
            budget::Found::Unreadable(event) => page.unreadable.push(event),
            budget::Found::Rest { position, .. } => {
                page.upto = Position(position.0 - 1);
                break;
            }
        }
    }
    let (expected, found) = (page.upto.0 - after.0, (page.events.len() + page.unreadable.len()) as i64);
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
) -> sqlx::Result<Part> {
    let rows =
        sqlx::query_file_as!(Row, "src/read/aggregate.sql", aggregate_id.0, from.0, to.0, limit, BUDGET, READABLE)
            .fetch_all(db)
            .await?;
    let full = rows.len() as i64 == limit;
    let mut part = Part::of(rows, &[(aggregate_id, from, to)]);
    if let Some((_, last)) = part.last().filter(|(_, last)| full && part.rest.is_empty() && *last < to) {
        part.rest.push((aggregate_id, last.next(), to));
    }
    Ok(part)
}

/// The versions of each aggregate that are wanted, at most `limit` events in all: what is missing before events that
/// came early. A version that is in none of the three parts of the answer is not in the store.
pub async fn ranges(db: impl PgExecutor<'_>, wanted: &[Range], limit: i32) -> sqlx::Result<Part> {
    let (first, rest) = part::split(wanted, limit);
    let ids: Vec<_> = first.iter().map(|(id, _, _)| id.0).collect();
    let from: Vec<_> = first.iter().map(|(_, from, _)| from.0).collect();
    let to: Vec<_> = first.iter().map(|(_, _, to)| to.0).collect();
    let rows = sqlx::query_file_as!(Row, "src/read/ranges.sql", &ids, &from, &to, BUDGET, READABLE).fetch_all(db);
    let mut part = Part::of(rows.await?, &first);
    part.rest.extend(rest);
    Ok(part)
}

/// The events with these ids; ids that the store does not know are nowhere in the answer.
pub async fn by_id(db: impl PgExecutor<'_>, ids: &[EventId]) -> sqlx::Result<Found> {
    let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query_file_as!(Row, "src/read/by_id.sql", &ids, BUDGET, READABLE).fetch_all(db).await?;
    let mut found = Found { events: Vec::with_capacity(rows.len()), ..Found::default() };
    for row in rows {
        match row.into() {
            budget::Found::Event(event) => found.events.push(event),
            budget::Found::Unreadable(event) => found.unreadable.push(event),
            budget::Found::Rest { event_id, .. } => found.rest.push(event_id),
        }
    }
    Ok(found)
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
