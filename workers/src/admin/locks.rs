//! `GET /admin/v1/locks` and `GET /admin/v1/leases`: who waits for whom in the database, and who has taken what on.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use event_store::relay::leases::{self, Lease};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Admin, Problem, now};
use crate::generations::keepers::{self, Keeper};
use crate::locks::{self, Wait};

/// Those who have waited longest first.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Locks {
    pub observed_at: DateTime<Utc>,
    /// 100 at most.
    pub waits: Vec<Wait>,
}

/// Who has taken what on.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Leases {
    pub observed_at: DateTime<Utc>,
    /// Of each topic's relay.
    pub relays: Vec<Lease>,
    /// Versions of the code that keep generations, as their workers said last.
    pub keepers: Vec<Keeper>,
}

/// Who waits for whom in the database.
#[utoipa::path(
    get,
    path = "/locks",
    operation_id = "listLocks",
    tag = "database",
    responses((status = 200, description = "Sessions that wait for a lock, and who holds it.", body = Locks))
)]
pub(super) async fn locks(State(admin): State<Admin>) -> Result<Json<Locks>, Problem> {
    let observed_at = now(&admin).await?;
    Ok(Json(Locks { observed_at, waits: locks::waits(&admin.pool, locks::MOST).await? }))
}

/// Who has taken what on: relays their topics, workers their generations.
#[utoipa::path(
    get,
    path = "/leases",
    operation_id = "listLeases",
    tag = "database",
    responses((status = 200, description = "Leases of relays, and keepers of read models.", body = Leases))
)]
pub(super) async fn leases(State(admin): State<Admin>) -> Result<Json<Leases>, Problem> {
    let observed_at = now(&admin).await?;
    let (relays, keepers) = tokio::try_join!(leases::leases(&admin.pool), keepers::list(&admin.pool))?;
    Ok(Json(Leases { observed_at, relays, keepers }))
}
