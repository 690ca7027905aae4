//! Who waits for whom in the database, and who else is at work in it.

mod busy;

use std::fmt;

use serde::{Deserialize, Serialize};
use sqlx::PgExecutor;
use sqlx::types::Json;
use utoipa::ToSchema;

pub use busy::{Busy, busy};

use crate::words::duration;

/// Waits that are looked at.
pub const MOST: i64 = 100;

/// As what the fleet's sessions are known to Postgres.
const FLEET: &str = "fleet";

/// A session that waits for a lock, and whoever stands in its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = LockWait)]
pub struct Wait {
    /// Of the session that waits.
    pub pid: i32,
    /// Its `application_name`: `fleet` is the fleet's.
    pub name: String,
    /// For how long.
    pub seconds: f64,
    /// For what, in words.
    pub waits_for: String,
    /// Of all tables that it has locked or wants to.
    pub schemas: Vec<String>,
    /// Those who hold it, or were there first. A prepared transaction is nobody's session, and is not among them.
    pub held_by: Vec<Holder>,
}

/// A session that holds a lock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = LockHolder)]
pub struct Holder {
    pub pid: i32,
    /// Its `application_name`.
    pub name: String,
    /// The user of the database as whom it came; what it is doing is not said, because statements may have data in them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Of its client; absent: it came over a Unix socket, or whoever asks may not see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// As Postgres says: `active`, `idle in transaction`.
    pub state: String,
    /// For how long its transaction has been open.
    pub seconds: f64,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, name, user, address, state, seconds } = self;
        write!(f, "pid {pid} ({}", if name.is_empty() { "without a name" } else { name })?;
        if let Some(user) = user {
            write!(f, " of {user}")?;
        }
        if let Some(address) = address {
            write!(f, " at {address}")?;
        }
        write!(f, ", {state}, in a transaction for {})", duration(*seconds))
    }
}

impl Wait {
    /// For what it waits, and who holds it, of a session of the fleet.
    pub(crate) fn held_up(&self) -> String {
        format!("the fleet waits for {}, {}", self.waits_for, self.in_the_way())
    }

    /// Who holds what it waits for.
    pub fn in_the_way(&self) -> String {
        if self.held_by.is_empty() {
            return "held by nobody's session: see pg_prepared_xacts".to_owned();
        }
        let holders: Vec<_> = self.held_by.iter().map(|holder| format!("held by {holder}")).collect();
        holders.join("; ")
    }

    /// A session of the fleet waits.
    pub(crate) fn is_ours(&self) -> bool {
        self.name == FLEET
    }

    /// A session of the fleet waits, with tables of this schema in its hands.
    pub(crate) fn holds_up(&self, schema: &str) -> bool {
        self.is_ours() && self.schemas.iter().any(|it| it == schema)
    }
}

/// Those who have waited longest first.
///
/// # Errors
/// The database's.
pub async fn waits(db: impl PgExecutor<'_>, most: i64) -> sqlx::Result<Vec<Wait>> {
    let rows = sqlx::query_file!("src/locks/waits.sql", most).fetch_all(db).await?;
    let waits = rows.into_iter().map(|row| Wait {
        pid: row.pid,
        name: row.name,
        seconds: row.seconds.max(0.0),
        waits_for: row.waits_for,
        schemas: row.schemas,
        held_by: row.held_by.0,
    });
    Ok(waits.collect())
}
