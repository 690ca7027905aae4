//! Who waits for whom in the database, and who else is at work in it.

mod busy;

use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::types::Json;
use utoipa::ToSchema;

pub use busy::{Busy, busy};

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
    /// As Postgres says: `active`, `idle in transaction`.
    pub state: String,
    /// For how long its transaction has been open.
    pub seconds: f64,
}

impl Wait {
    /// A session of the fleet waits, with tables of this schema in its hands.
    pub(crate) fn holds_up(&self, schema: &str) -> bool {
        self.name == FLEET && self.schemas.iter().any(|it| it == schema)
    }
}

/// Those who have waited longest first.
///
/// # Errors
/// The database's.
pub async fn waits(pool: &PgPool, most: i64) -> sqlx::Result<Vec<Wait>> {
    let rows = sqlx::query_file!("src/locks/waits.sql", most).fetch_all(pool).await?;
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
