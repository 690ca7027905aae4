//! An unreadable event, in part: as much of it as Postgres can say without printing it.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

/// Members of data, and of metadata, that are said at most: the largest.
const MEMBERS: i64 = 200;

/// The numbers of members of so many bytes in memory, the smallest first, are looked at to tell what they print. A second's
/// work at most.
const LOOKED_AT: i64 = 2 << 20;

/// What Postgres may take for it. A value of the 256 MB that a jsonb can have takes longer.
const STATEMENT_TIMEOUT: &str = "2s";

/// Characters of the beginning of each member, at most about that.
const BEGINNING: i32 = 1000;

/// What an event consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Contents {
    pub event_data: Members,
    pub metadata: Members,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Members {
    /// How many there are.
    pub count: i64,
    /// The largest of them, as they are in memory.
    pub largest: Vec<Member>,
}

/// A member at the top of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// Its beginning, if it is long; `null`: this is no object, and the member all of it.
    pub name: Option<String>,
    /// As JSON calls it: array, string, …
    pub kind: String,
    pub memory_bytes: i32,
    /// What it prints, at most; `null`: it is too large for anybody to tell in a second.
    pub printed_bytes: Option<i32>,
    /// For people to read, and not JSON: what is left out is `…`, and numbers of many digits are rounded. Absent unless it was
    /// asked for: personal data may be in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beginning: Option<String>,
}

/// Belongs into a transaction, for whose rest each statement may take only so long.
///
/// # Errors
/// It takes Postgres too long, or what is stored is broken; the transaction is then of no more use.
pub async fn contents(db: &mut PgConnection, position: i64, beginnings: bool) -> sqlx::Result<Contents> {
    sqlx::query!("select set_config('statement_timeout', $1, true)", STATEMENT_TIMEOUT).fetch_one(&mut *db).await?;
    let room = if beginnings { BEGINNING } else { 0 };
    let rows =
        sqlx::query_file!("src/unreadable/members.sql", position, MEMBERS, LOOKED_AT, room).fetch_all(db).await?;
    let (mut event_data, mut metadata) = (Members::default(), Members::default());
    for row in rows {
        let members = if row.part == "metadata" { &mut metadata } else { &mut event_data };
        members.count = row.members;
        members.largest.push(Member {
            name: row.name,
            kind: row.kind,
            memory_bytes: row.memory_bytes,
            printed_bytes: row.printed_bytes,
            beginning: row.beginning,
        });
    }
    Ok(Contents { event_data, metadata })
}

/// The event is to blame, and not the moment: there is no use in asking again.
pub fn defies(error: &sqlx::Error) -> bool {
    database::is_unreadable(error) || database::is_too_much(error)
}
