//! How long bookkeeping is kept, and forgetting what is older: idempotency keys, operations, discarded letters, the audit log.
//!
//! Nothing goes that is still needed: no operation that is open or that a letter points to, nothing that says which event a read
//! model went on without, no key within its promise. What is parked stays until somebody decides about it.

mod by_hand;
mod pruner;

use chrono::{DateTime, TimeDelta, Utc};
use event_store::keys;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;

use crate::invalid::Invalid;

pub use by_hand::{Pruned, Refused, prune};
pub use pruner::{Gauges, Pruner};

/// Days for which the audit log is kept at least, whoever prunes: the database refuses less.
const AUDITED_DAYS: u32 = 31;

/// Rows that are old are counted up to here: so many, or more.
const COUNTED: i64 = 100_000;

/// What is pruned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    IdempotencyKeys,
    Operations,
    DiscardedEvents,
    AuditLog,
}

impl Table {
    pub const ALL: [Self; 4] = [Self::IdempotencyKeys, Self::Operations, Self::DiscardedEvents, Self::AuditLog];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::IdempotencyKeys => "idempotency_keys",
            Self::Operations => "operations",
            Self::DiscardedEvents => "discarded_events",
            Self::AuditLog => "audit_log",
        }
    }
}

/// Days for which each is kept; 0: for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// After their append.
    pub idempotency_keys: u32,
    /// After their end, and with them their own idempotency keys.
    pub operations: u32,
    /// What a discarded event carried, after the discard. That it was discarded is kept as long as its read model is there.
    pub discarded_events: u32,
    pub audit_log: u32,
}

impl Default for Retention {
    /// Keys a little longer than Pub/Sub keeps a message. Operations for half a year, to compare with the last time.
    /// Discarded events for a year, because each is data that somebody may miss. Who did what for three.
    fn default() -> Self {
        Self { idempotency_keys: 35, operations: 180, discarded_events: 365, audit_log: 1095 }
    }
}

impl Retention {
    pub fn days(&self, table: Table) -> u32 {
        match table {
            Table::IdempotencyKeys => self.idempotency_keys,
            Table::Operations => self.operations,
            Table::DiscardedEvents => self.discarded_events,
            Table::AuditLog => self.audit_log,
        }
    }

    /// # Errors
    /// A key would be forgotten within its promise; or the audit log before what it explains.
    pub fn check(&self) -> Result<(), Invalid> {
        let refuse = |field, problem: String| Err(Invalid { field, problem });
        if (1..keys::PROMISED_DAYS).contains(&self.idempotency_keys) {
            let promised = keys::PROMISED_DAYS;
            return refuse(
                "idempotency_keys",
                format!("at least {promised} days, which callers are promised, or 0: for ever"),
            );
        }
        if (1..AUDITED_DAYS).contains(&self.audit_log) {
            return refuse("audit_log", format!("at least {AUDITED_DAYS} days, or 0: for ever"));
        }
        let ever = |days| if days == 0 { u32::MAX } else { days };
        if ever(self.audit_log) < ever(self.operations).max(ever(self.discarded_events)) {
            let problem = "at least as long as operations and discarded events, which it explains, or 0: for ever";
            return refuse("audit_log", problem.to_owned());
        }
        match Table::ALL.into_iter().find(|table| self.days(*table) > 36_500) {
            Some(table) => refuse(table.as_str(), "at most 36500 days; 0: for ever".to_owned()),
            None => Ok(()),
        }
    }

    /// Before when rows are old; `None`: never.
    fn before(&self, table: Table, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let days = self.days(table);
        (days > 0).then(|| now - TimeDelta::days(days.into()))
    }
}

/// What would go of one table.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Old {
    pub table: Table,
    /// Rows that were written, or ended, before this are old; `null`: they are kept for ever.
    pub before: Option<DateTime<Utc>>,
    /// Rows that are; 100,000: or more. Of operations, also those that a letter still points to, which stay.
    pub rows: i64,
    /// The oldest row of all.
    pub oldest: Option<DateTime<Utc>>,
}

/// What would go of each table now.
pub async fn old(pool: &PgPool, retention: &Retention, now: DateTime<Utc>) -> sqlx::Result<Vec<Old>> {
    let mut all = Vec::new();
    for table in Table::ALL {
        let before = retention.before(table, now);
        let (rows, oldest) = count(pool, table, before.unwrap_or(DateTime::UNIX_EPOCH)).await?;
        all.push(Old { table, before, rows, oldest });
    }
    Ok(all)
}

pub async fn now(pool: &PgPool) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(pool).await
}

async fn count(pool: &PgPool, table: Table, before: DateTime<Utc>) -> sqlx::Result<(i64, Option<DateTime<Utc>>)> {
    match table {
        Table::IdempotencyKeys => keys::old(pool, before, COUNTED).await,
        Table::Operations => sqlx::query!(
            r#"select
                   (select count(*) from (
                       select from operations where finished_at < $1 order by finished_at limit $2
                   ) as old) as "rows!",
                   (select finished_at from operations where finished_at is not null order by finished_at limit 1) as oldest"#,
            before,
            COUNTED
        )
        .fetch_one(pool)
        .await
        .map(|row| (row.rows, row.oldest)),
        Table::DiscardedEvents => sqlx::query!(
            r#"select
                   (select count(*) from (
                       select from discarded_events
                       where discarded_at < $1 and pruned_at is null order by discarded_at limit $2
                   ) as old) as "rows!",
                   (select discarded_at from discarded_events where pruned_at is null order by discarded_at limit 1) as oldest"#,
            before,
            COUNTED
        )
        .fetch_one(pool)
        .await
        .map(|row| (row.rows, row.oldest)),
        Table::AuditLog => sqlx::query!(
            r#"select
                   (select count(*) from (select from audit_log where at < $1 order by at limit $2) as old) as "rows!",
                   (select at from audit_log order by at limit 1) as oldest"#,
            before,
            COUNTED
        )
        .fetch_one(pool)
        .await
        .map(|row| (row.rows, row.oldest)),
    }
}

/// Prunes at most so many rows of a table that were old at `before`; how many it were.
async fn batch(db: &mut PgConnection, table: Table, before: DateTime<Utc>, most: i64) -> sqlx::Result<u64> {
    match table {
        Table::IdempotencyKeys => keys::prune(db, before, most).await,
        Table::Operations => {
            let pruned = sqlx::query_file!("src/retention/operations.sql", before, most).execute(db).await?;
            Ok(pruned.rows_affected())
        }
        Table::DiscardedEvents => {
            let pruned = sqlx::query_file_scalar!("src/retention/discarded.sql", before, most).fetch_one(db).await?;
            Ok(pruned as u64)
        }
        Table::AuditLog => {
            let pruned = sqlx::query_scalar!(r#"select prune_audit_log($1, $2) as "pruned!""#, before, most);
            Ok(pruned.fetch_one(db).await? as u64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_promise_is_broken_and_nothing_outlives_what_explains_it() {
        let with = |change: fn(&mut Retention)| {
            let mut retention = Retention::default();
            change(&mut retention);
            retention.check().map_err(|invalid| invalid.field)
        };
        assert_eq!(with(|_| ()), Ok(()));
        assert_eq!(with(|it| it.idempotency_keys = 30), Err("idempotency_keys"));
        assert_eq!(with(|it| it.idempotency_keys = 31), Ok(()));
        assert_eq!(with(|it| it.idempotency_keys = 0), Ok(()));
        assert_eq!(with(|it| it.audit_log = 364), Err("audit_log"));
        assert_eq!(with(|it| it.operations = 0), Err("audit_log"));
        assert_eq!(with(|it| (it.operations, it.audit_log) = (0, 0)), Ok(()));
        assert_eq!(with(|it| it.audit_log = 40_000), Err("audit_log"));
    }

    #[test]
    fn what_is_kept_for_ever_is_never_old() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(100);
        let retention = Retention { operations: 0, ..Retention::default() };
        assert_eq!(retention.before(Table::Operations, now), None);
        assert_eq!(retention.before(Table::IdempotencyKeys, now), Some(DateTime::UNIX_EPOCH + TimeDelta::days(65)));
    }
}
