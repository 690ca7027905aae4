//! Which relay publishes which topic, and until when it has said that it will.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

/// Topics that are looked at.
const MOST: i64 = 1000;

/// The lease of a topic's relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = RelayLease)]
pub struct Lease {
    pub topic: String,
    /// The relay that had it last; `null`: none ever had.
    pub holder: Option<Uuid>,
    pub until: Option<DateTime<Utc>>,
    /// It has not run out.
    pub held: bool,
    /// Everything up to here is published.
    pub position: i64,
    /// When that was written down.
    pub moved_at: DateTime<Utc>,
}

/// By topic; of topics that a relay has begun with.
///
/// # Errors
/// The database's.
pub async fn leases(pool: &PgPool) -> sqlx::Result<Vec<Lease>> {
    sqlx::query_as!(
        Lease,
        r#"select topic, lease_holder as "holder?", leased_until as "until?",
               coalesce(leased_until > clock_timestamp(), false) as "held!", position, moved_at
           from relay_cursors order by topic limit $1"#,
        MOST
    )
    .fetch_all(pool)
    .await
}
