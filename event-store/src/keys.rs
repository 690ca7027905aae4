//! Forgetting idempotency keys. The writer remembers each with its append; whoever prunes takes what is older than anybody may
//! still send again.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

/// Days for which a key has one result, whatever the settings: as long as Pub/Sub keeps a message, so that whoever appends
/// because of one may do so however late it comes.
pub const PROMISED_DAYS: u32 = 31;

/// Forgets at most so many keys that were used before `before`. The latest keep their promise, whatever is asked for.
///
/// # Errors
/// The store cannot be asked.
pub async fn prune(db: impl PgExecutor<'_>, before: DateTime<Utc>, most: i64) -> sqlx::Result<u64> {
    let pruned = sqlx::query_file!("src/keys/prune.sql", before, most, PROMISED_DAYS as i32).execute(db).await?;
    Ok(pruned.rows_affected())
}

/// How many keys were used before `before`, counted up to `most`, and when the first of all was.
///
/// # Errors
/// The store cannot be asked.
pub async fn old(
    db: impl PgExecutor<'_>,
    before: DateTime<Utc>,
    most: i64,
) -> sqlx::Result<(i64, Option<DateTime<Utc>>)> {
    let row = sqlx::query!(
        r#"select
               (
                   select count(*)
                   from (
                       select from idempotency_keys
                       where created_at < least($1, clock_timestamp() - make_interval(days => $3))
                       order by created_at limit $2
                   ) as old
               ) as "old!",
               (select created_at from idempotency_keys order by created_at limit 1) as oldest"#,
        before,
        most,
        PROMISED_DAYS as i32
    )
    .fetch_one(db)
    .await?;
    Ok((row.old, row.oldest))
}
