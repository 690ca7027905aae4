//! Which versions of the code keep which projection, as their workers say every few seconds.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::ToSchema;

/// Rows that are looked at.
const MOST: i64 = 1000;

/// A version of a projection's code that workers have, or had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Keeper {
    pub projection: String,
    pub version: i32,
    /// When a worker said so last.
    pub seen_at: DateTime<Utc>,
}

/// By projection, the newest version first.
///
/// # Errors
/// The database's.
pub async fn list(pool: &PgPool) -> sqlx::Result<Vec<Keeper>> {
    sqlx::query_as!(
        Keeper,
        "select projection, version, seen_at from keepers order by projection, version desc limit $1",
        MOST
    )
    .fetch_all(pool)
    .await
}
