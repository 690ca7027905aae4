//! Reading on when Postgres itself gives up on a page: an event defeats its known size, or what is stored of it is broken.
//! Such a page is halved until that event is alone, and then the event is named instead of read.

use events::{AggregateId, Position, Version};
use sqlx::PgConnection;

use super::budget::{Found, Row, Unreadable};
use super::{Error, Filter, Page, Part};
use crate::database;

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
    loop {
        match super::page(&mut *db, after, head, window, filter).await {
            Err(Error::Database(error)) if less_may_go_through(&error) => {
                window = window.min(head.0 - after.0);
                if window <= 1 {
                    let error = blamed(error)?;
                    let row = identity(db, after.next(), None, &error).await?;
                    return Ok(Page { events: Vec::new(), unreadable: row, upto: after.next() });
                }
                window /= 2;
            }
            page => return page,
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
    loop {
        match super::aggregate(&mut *db, aggregate_id, from, to, limit).await {
            Err(error) if less_may_go_through(&error) => {
                if limit <= 1 {
                    let error = blamed(error)?;
                    let unreadable = identity(db, Position::START, Some((aggregate_id, from)), &error).await?;
                    let rest = if from < to { vec![(aggregate_id, from.next(), to)] } else { Vec::new() };
                    return Ok(Part { events: Vec::new(), unreadable, rest });
                }
                limit /= 2;
            }
            part => return part,
        }
    }
}

fn less_may_go_through(error: &sqlx::Error) -> bool {
    database::is_unreadable(error) || database::is_too_much(error)
}

/// The error, if it is the event's. Memory and time may be short for another reason, and come back.
fn blamed(error: sqlx::Error) -> sqlx::Result<sqlx::Error> {
    if database::is_unreadable(&error) { Ok(error) } else { Err(error) }
}

/// All that is known of an event without its data.
async fn identity(
    db: &mut PgConnection,
    position: Position,
    version: Option<(AggregateId, Version)>,
    error: &sqlx::Error,
) -> sqlx::Result<Vec<Unreadable>> {
    let (aggregate_id, version) = version.unzip();
    let row = sqlx::query_as!(
        Row,
        r#"select position, event_id, aggregate_id, aggregate_type, event_type, event_version,
                  null::jsonb as "event_data: _", null::jsonb as "metadata: _", occurred_at, created_at,
                  2147483647 as "bytes: _"
           from events
           where position = $1 or aggregate_id = $2 and event_version = $3"#,
        position.0,
        aggregate_id.map(|id| id.0),
        version.map(|version| version.0)
    )
    .fetch_optional(db)
    .await?;
    Ok(row
        .into_iter()
        .filter_map(|row| match row.into() {
            Found::Unreadable(event) => Some(Unreadable { reason: database::describe(error), ..event }),
            _ => None,
        })
        .collect())
}
