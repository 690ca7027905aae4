//! Who keeps dead rows from being removed: a snapshot that is open for long, somewhere else.
//!
//! Updates and deletes leave dead rows, and nobody may remove what an open snapshot may still want to see: of a dump, of a
//! forgotten transaction, of a standby. All that is updated often becomes slower meanwhile, in every table of the database.

use std::collections::HashMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::ToSchema;

/// Seconds after which it is worth a line in the log. The alert `OldSnapshotOpen` waits as long.
const OLD: f64 = 900.0;

/// The oldest snapshot that is open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OldSnapshot {
    pub seconds: f64,
    /// session, prepared transaction, replication slot, standby.
    pub kind: String,
    /// Of the session; of a slot, whoever reads from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// The session's `application_name`, the prepared transaction's id, the slot's name.
    pub name: String,
}

/// What is remembered from one measurement to the next.
#[derive(Debug, Default)]
pub(super) struct Horizon {
    /// Since when those who have no time of their own hold what they hold.
    since: HashMap<(String, String, String), Instant>,
    warned: Option<(String, Option<i32>, String)>,
}

impl Horizon {
    pub async fn measure(&mut self, pool: &PgPool) -> sqlx::Result<Option<OldSnapshot>> {
        let rows = sqlx::query_file!("src/lag/horizon.sql").fetch_all(pool).await?;
        let mut since = HashMap::new();
        let mut oldest: Option<OldSnapshot> = None;
        for row in rows {
            let seconds = row.seconds.unwrap_or_else(|| {
                let key = (row.kind.clone(), row.name.clone(), row.horizon);
                let seen = self.since.get(&key).copied().unwrap_or_else(Instant::now);
                since.insert(key, seen);
                seen.elapsed().as_secs_f64()
            });
            if oldest.as_ref().is_none_or(|oldest| seconds > oldest.seconds) {
                oldest = Some(OldSnapshot { seconds, kind: row.kind, pid: row.pid, name: row.name });
            }
        }
        self.since = since;
        self.warn(oldest.as_ref());
        Ok(oldest)
    }

    /// Once for each culprit, not at each scrape.
    fn warn(&mut self, oldest: Option<&OldSnapshot>) {
        let old = oldest.filter(|oldest| oldest.seconds >= OLD);
        let culprit = old.map(|old| (old.kind.clone(), old.pid, old.name.clone()));
        if let Some(old) = old
            && culprit != self.warned
        {
            let OldSnapshot { seconds, kind, pid, name } = old;
            tracing::warn!(seconds, kind, pid, name, "a snapshot is open: dead rows pile up and updates become slower");
        }
        self.warned = culprit;
    }
}
