//! Operations that stand still: nobody has said that they shall, and no step of them was done for a minute. Why, as far as the
//! database knows it.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

/// How long an operation that stands still is not spoken of.
const PATIENCE: TimeDelta = TimeDelta::seconds(60);

/// An operation of which no step is done, although it waits for nobody.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stalled {
    /// Its last step, or when it could have taken the first one.
    pub since: DateTime<Utc>,
    /// How long ago that is.
    #[serde(default)]
    pub seconds: f64,
    pub reason: String,
}

/// What its builders say while one step of theirs takes long: it does not stand still.
pub(crate) const INDEXING: &str = "making the indexes, in one transaction";
pub(crate) const COMPARING: &str = "comparing, in one transaction";

pub(super) fn is_long(step: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    step.is_some_and(|step| now - step > PATIENCE)
}

/// What is known of one that stands still.
struct Known {
    projection: Option<String>,
    /// Of the code that would go on with it.
    version: Option<i32>,
    kept: bool,
    pace: Option<String>,
    blocker: Option<String>,
}

/// Why each of them stands still. One that is in a long step is not among them.
pub(super) async fn look(db: &mut PgConnection, operations: &[Uuid]) -> sqlx::Result<BTreeMap<Uuid, String>> {
    if operations.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = sqlx::query_file!("src/operations/stalled.sql", operations).fetch_all(db).await?;
    let reasons = rows.into_iter().filter_map(|row| {
        let (projection, version, kept) = (row.projection, row.version, row.kept);
        Some((row.id, Known { projection, version, kept, pace: row.pace, blocker: row.blocker }.reason()?))
    });
    Ok(reasons.collect())
}

impl Known {
    fn reason(self) -> Option<String> {
        if let (Some(projection), Some(version), false) = (&self.projection, self.version, self.kept) {
            return Some(format!("no worker of version {version} of {projection} runs"));
        }
        if self.pace.as_deref().is_some_and(|pace| pace == INDEXING || pace == COMPARING) {
            return None;
        }
        let nobody = || "nobody has said why: see the log of its worker".to_owned();
        Some(self.blocker.or(self.pace).unwrap_or_else(nobody))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_thing_that_stands_in_its_way_is_the_reason() {
        let known = |kept, pace: &str, blocker: Option<&str>| Known {
            projection: Some("orders".to_owned()),
            version: Some(2),
            kept,
            pace: Some(pace.to_owned()).filter(|pace| !pace.is_empty()),
            blocker: blocker.map(str::to_owned),
        };
        let reason = |known: Known| known.reason().unwrap_or_default();
        assert_eq!(reason(known(false, "stopped", Some("pid 7"))), "no worker of version 2 of orders runs");
        assert_eq!(reason(known(true, "stopped", Some("pid 7"))), "pid 7");
        assert_eq!(reason(known(true, "stopped: live lag", None)), "stopped: live lag");
        assert_eq!(known(true, INDEXING, Some("pid 7")).reason(), None, "that is itself");
        assert!(reason(known(true, "", None)).starts_with("nobody has said why"));
        assert!(reason(Known { projection: None, version: None, ..known(false, "", None) }).starts_with("nobody"));
    }
}
