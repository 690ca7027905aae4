//! Who else is at work in the database.

use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::ToSchema;

use super::FLEET;

/// How long a statement may take without being spoken of.
const PATIENCE_SECONDS: f64 = 10.0;

/// Names that are looked at.
const MOST: i64 = 10;

/// Sessions of somebody else, each of which has been at one statement for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = BusySessions)]
pub struct Busy {
    /// Their `application_name`, which may be empty.
    pub name: String,
    pub sessions: i64,
    /// For how long the one that has been at it for longest.
    pub seconds: f64,
}

/// Those with the most sessions first.
///
/// # Errors
/// The database's.
pub async fn busy(pool: &PgPool) -> sqlx::Result<Vec<Busy>> {
    sqlx::query_file_as!(Busy, "src/locks/busy.sql", FLEET, PATIENCE_SECONDS, MOST).fetch_all(pool).await
}
