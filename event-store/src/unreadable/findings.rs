//! The findings, as people look at them: without any data.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use events::{EventId, Position};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

/// An event that readers pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    pub position: i64,
    pub event_id: Uuid,
    pub aggregate_id: Uuid,
    pub event_version: i32,
    pub aggregate_type: String,
    pub event_type: String,
    /// Data and metadata as the table has them; `null` if the event is no longer there.
    pub stored_bytes: Option<i32>,
    /// Data and metadata as they would be printed, at most; `null` if nobody could tell.
    pub printed_bytes: Option<i32>,
    /// Why it cannot be read.
    pub reason: String,
    /// When the first reader met it.
    pub found_at: DateTime<Utc>,
    pub occurred_at: Option<DateTime<Utc>>,
    pub recorded_at: Option<DateTime<Utc>>,
}

/// How a person names an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    At(Position),
    Id(EventId),
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("there is no event {0} in the store")]
    Unknown(Which),
    #[error("the event {0} is in the store, and no reader has found it unreadable")]
    Readable(Which),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a position nor the id of an event")]
pub struct Unnamed(String);

/// The latest positions first; `before` is the last one seen.
pub async fn list(pool: &PgPool, before: Option<Position>, limit: i64) -> sqlx::Result<Vec<Finding>> {
    select(pool, before, None, limit).await
}

/// # Errors
/// Nobody has found this one.
pub async fn find(pool: &PgPool, which: Which) -> Result<Finding, Error> {
    let (position, id) = match which {
        Which::At(position) => (Some(position.0), None),
        Which::Id(id) => (None, Some(id.0)),
    };
    let position =
        sqlx::query_scalar!("select position from events where position = $1 or event_id = $2", position, id)
            .fetch_optional(pool)
            .await?
            .ok_or(Error::Unknown(which))?;
    select(pool, None, Some(Position(position)), 1).await?.pop().ok_or(Error::Readable(which))
}

async fn select(
    pool: &PgPool,
    before: Option<Position>,
    only: Option<Position>,
    limit: i64,
) -> sqlx::Result<Vec<Finding>> {
    let (before, only) = (before.map(|position| position.0), only.map(|position| position.0));
    sqlx::query_file_as!(Finding, "src/unreadable/list.sql", before, only, limit).fetch_all(pool).await
}

impl FromStr for Which {
    type Err = Unnamed;

    fn from_str(name: &str) -> Result<Self, Unnamed> {
        let position = name.parse().map(|position| Self::At(Position(position)));
        position
            .or_else(|_| Uuid::try_parse(name).map(|id| Self::Id(EventId(id))))
            .map_err(|_| Unnamed(name.to_owned()))
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(position) => write!(f, "at position {position}"),
            Self::Id(id) => write!(f, "with the id {id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_named_by_its_position_or_its_id() {
        let id = Uuid::now_v7();
        assert_eq!("42".parse(), Ok(Which::At(Position(42))));
        assert_eq!(id.to_string().parse(), Ok(Which::Id(EventId(id))));
        for wrong in ["", "x", "4.2", "99999999999999999999"] {
            assert_eq!(wrong.parse::<Which>().expect_err(wrong).0, wrong);
        }
    }
}
