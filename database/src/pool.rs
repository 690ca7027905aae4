//! Pools: one for reading and administering, one for applying.

use std::time::Duration;

use log::LevelFilter;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection, PgPool};

use crate::{options, refuse_standby, timed_out};

/// A pool for reading and administering. It does not connect before it is used.
///
/// # Errors
/// The URL is not one of Postgres.
pub fn reading(url: &str, connections: u32) -> sqlx::Result<PgPool> {
    Ok(bounded(connections).connect_lazy_with(options(url)?))
}

/// A pool for applying. A connection is not tried out before its use; a broken one fails the transaction, which is tried
/// again.
///
/// Plans are made once for each connection and kept, because planning would cost a small batch more than all else. What is
/// kept must be right for every batch and for tables of any size, also when it was made while they were empty: so only
/// plans that go from the rows in hand to the tables by index. See docs/adr/0012.
///
/// # Errors
/// The URL is not one of Postgres.
pub fn applying(url: &str, connections: u32) -> sqlx::Result<PgPool> {
    let options = options(url)?.options([
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("jit", "off"),
    ]);
    Ok(bounded(connections).test_before_acquire(false).connect_lazy_with(options))
}

fn bounded(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(10))
        .acquire_slow_level(LevelFilter::Debug)
        .after_connect(|connection, _| Box::pin(refuse_standby(connection)))
        .after_release(|connection, _| Box::pin(answers(connection)))
}

/// Whether a connection that comes back to its pool still answers. The pool itself would wait for ever for that.
async fn answers(connection: &mut PgConnection) -> sqlx::Result<bool> {
    const LIMIT: Duration = Duration::from_secs(10);
    let answered = tokio::time::timeout(LIMIT, connection.ping()).await;
    answered.unwrap_or_else(|_| Err(timed_out("a connection"))).map(|()| true)
}
