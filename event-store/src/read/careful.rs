//! Reading on when Postgres itself gives up on a page: an event defeats its known size, or what is stored of it is broken.
//! Such a page is halved until that event is alone, and then the event is named instead of read.
//!
//! Within a transaction, what fails is undone to a savepoint, so that the transaction goes on.

use events::{AggregateId, EventId, Position, Version};
use sqlx::{Connection, PgConnection};

use super::budget::{self, Row, Unreadable};
use super::part::split;
use super::{Error, Filter, Found, Page, Part, Range};

/// As [`super::page`]; what Postgres cannot give is among the unreadable.
///
/// # Errors
/// Those of [`super::page`], except for what a single event causes.
pub async fn page(
    db: &mut PgConnection,
    after: Position,
    head: Position,
    mut window: i64,
    filter: &Filter,
) -> Result<Page, Error> {
    let savepoint = Savepoint::set(db).await?;
    loop {
        match super::page(&mut *db, after, head, window, filter).await {
            Err(Error::Database(error)) if less_may_go_through(&error) => {
                savepoint.go_back(db).await?;
                window = window.min(head.0 - after.0);
                if window <= 1 {
                    let error = blamed(error)?;
                    let unreadable = identity(db, Named::At(after.next()), &error).await?;
                    savepoint.release(db).await?;
                    return Ok(Page { events: Vec::new(), unreadable, upto: after.next(), bytes: 0 });
                }
                window /= 2;
            }
            Ok(page) => {
                savepoint.release(db).await?;
                return Ok(page);
            }
            Err(error) => return Err(error),
        }
    }
}

/// As [`super::aggregate`]; what Postgres cannot give is among the unreadable.
///
/// # Errors
/// Those of [`super::aggregate`], except for what a single event causes.
pub async fn aggregate(
    db: &mut PgConnection,
    aggregate_id: AggregateId,
    from: Version,
    to: Version,
    mut limit: i64,
) -> sqlx::Result<Part> {
    let savepoint = Savepoint::set(db).await?;
    loop {
        match super::aggregate(&mut *db, aggregate_id, from, to, limit).await {
            Err(error) if less_may_go_through(&error) => {
                savepoint.go_back(db).await?;
                if limit <= 1 {
                    let error = blamed(error)?;
                    let unreadable = identity(db, Named::Version(aggregate_id, from), &error).await?;
                    savepoint.release(db).await?;
                    let rest = if from < to { vec![(aggregate_id, from.next(), to)] } else { Vec::new() };
                    return Ok(Part { events: Vec::new(), unreadable, rest });
                }
                limit /= 2;
            }
            Ok(part) => {
                savepoint.release(db).await?;
                return Ok(part);
            }
            Err(error) => return Err(error),
        }
    }
}

/// As [`super::ranges`]; what Postgres cannot give is among the unreadable. What is too much is an error: who asks for less
/// the next time, too, is the caller.
///
/// # Errors
/// Those of [`super::ranges`], except for what a single event causes.
pub async fn ranges(db: &mut PgConnection, wanted: &[Range], mut limit: i32) -> sqlx::Result<Part> {
    let savepoint = Savepoint::set(db).await?;
    loop {
        match super::ranges(&mut *db, wanted, limit).await {
            Err(error) if database::is_unreadable(&error) => {
                savepoint.go_back(db).await?;
                if limit > 1 {
                    limit /= 2;
                    continue;
                }
                let (first, rest) = split(wanted, 1);
                let Some(&(aggregate_id, version, _)) = first.first() else { return Err(error) };
                let unreadable = identity(db, Named::Version(aggregate_id, version), &error).await?;
                savepoint.release(db).await?;
                return Ok(Part { events: Vec::new(), unreadable, rest });
            }
            Ok(part) => {
                savepoint.release(db).await?;
                return Ok(part);
            }
            Err(error) => return Err(error),
        }
    }
}

/// As [`super::by_id`]; what Postgres cannot give is among the unreadable. The rest may hold ids that were not looked for,
/// always the last of `ids`. What is too much is an error: who asks for less the next time, too, is the caller.
///
/// # Errors
/// Those of [`super::by_id`], except for what a single event causes.
pub async fn by_id(db: &mut PgConnection, ids: &[EventId]) -> sqlx::Result<Found> {
    let savepoint = Savepoint::set(db).await?;
    let mut count = ids.len();
    loop {
        let (first, rest) = ids.split_at(count);
        match super::by_id(&mut *db, first).await {
            Err(error) if database::is_unreadable(&error) => {
                savepoint.go_back(db).await?;
                if count > 1 {
                    count /= 2;
                    continue;
                }
                let Some(&event_id) = first.first() else { return Err(error) };
                let unreadable = identity(db, Named::Id(event_id), &error).await?;
                savepoint.release(db).await?;
                return Ok(Found { unreadable, rest: rest.to_vec(), ..Found::default() });
            }
            Ok(mut found) => {
                savepoint.release(db).await?;
                found.rest.extend(rest);
                return Ok(found);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Where a transaction goes back to when a read in it fails. Outside of a transaction there is nothing to go back to.
struct Savepoint {
    within: bool,
}

impl Savepoint {
    async fn set(db: &mut PgConnection) -> sqlx::Result<Self> {
        let savepoint = Self { within: db.is_in_transaction() };
        savepoint.send(db, "savepoint reading").await?;
        Ok(savepoint)
    }

    async fn go_back(&self, db: &mut PgConnection) -> sqlx::Result<()> {
        self.send(db, "rollback to savepoint reading").await
    }

    async fn release(&self, db: &mut PgConnection) -> sqlx::Result<()> {
        self.send(db, "release savepoint reading").await
    }

    async fn send(&self, db: &mut PgConnection, statement: &'static str) -> sqlx::Result<()> {
        if self.within {
            sqlx::raw_sql(statement).execute(db).await?;
        }
        Ok(())
    }
}

fn less_may_go_through(error: &sqlx::Error) -> bool {
    database::is_unreadable(error) || database::is_too_much(error)
}

/// The error, if it is the event's. Memory and time may be short for another reason, and come back.
fn blamed(error: sqlx::Error) -> sqlx::Result<sqlx::Error> {
    if database::is_unreadable(&error) { Ok(error) } else { Err(error) }
}

/// How an event is named that cannot be read.
enum Named {
    At(Position),
    Version(AggregateId, Version),
    Id(EventId),
}

/// All that is known of an event without its data.
async fn identity(db: &mut PgConnection, named: Named, error: &sqlx::Error) -> sqlx::Result<Vec<Unreadable>> {
    let (position, version, id) = match named {
        Named::At(position) => (Some(position.0), None, None),
        Named::Version(aggregate_id, version) => (None, Some((aggregate_id.0, version.0)), None),
        Named::Id(id) => (None, None, Some(id.0)),
    };
    let (aggregate_id, version) = version.unzip();
    let row = sqlx::query_as!(
        Row,
        r#"select position, event_id, aggregate_id, aggregate_type, event_type, event_version,
                  null::jsonb as "event_data: _", null::jsonb as "metadata: _", occurred_at, created_at,
                  2147483647 as "bytes: _"
           from events
           where position = $1 or aggregate_id = $2 and event_version = $3 or event_id = $4"#,
        position,
        aggregate_id,
        version,
        id
    )
    .fetch_optional(db)
    .await?;
    Ok(row
        .into_iter()
        .filter_map(|row| match row.into() {
            budget::Found::Unreadable(event) => Some(Unreadable { reason: database::describe(error), ..event }),
            _ => None,
        })
        .collect())
}
