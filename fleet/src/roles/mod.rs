//! The roles: each builds its parts, spawns them, waits, and drains.

pub mod admin;
pub mod event_store;
pub mod migrate;
pub mod worker;

use std::time::Duration;

use ::event_store::database;
use anyhow::{Context, Result};
use log::LevelFilter;
use prometheus::{IntGaugeVec, Opts, Registry};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long parts may take to end after `stop`. Cloud Run kills after 10 s.
const DRAIN: Duration = Duration::from_secs(8);

/// A pool for reading and administering. It does not connect before it is used.
///
/// Its statements are planned each time: with what they bind, and for the tables as they are. One that was kept from when
/// they were empty would go through them whole.
pub fn pool(url: &str, connections: u32) -> Result<PgPool> {
    let options = database::options(url).context("DATABASE_URL is not a Postgres URL")?;
    Ok(PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(10))
        .acquire_slow_level(LevelFilter::Debug)
        .after_connect(|connection, _| Box::pin(database::refuse_standby(connection)))
        .after_release(|connection, _| Box::pin(database::answers(connection)))
        .connect_lazy_with(options.options([("plan_cache_mode", "force_custom_plan"), ("jit", "off")])))
}

/// A pool for applying. A connection is not tried out before its use; a broken one fails the transaction, which is tried
/// again.
///
/// Plans are made once for each connection and kept, because planning would cost a small batch more than all else. What is
/// kept must be right for every batch and for tables of any size, also when it was made while they were empty: so only
/// plans that go from the rows in hand to the tables by index. See docs/adr/0012.
pub fn applying_pool(url: &str, connections: u32) -> Result<PgPool> {
    let options = database::options(url).context("DATABASE_URL is not a Postgres URL")?;
    Ok(PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(10))
        .acquire_slow_level(LevelFilter::Debug)
        .after_connect(|connection, _| Box::pin(database::refuse_standby(connection)))
        .after_release(|connection, _| Box::pin(database::answers(connection)))
        .test_before_acquire(false)
        .connect_lazy_with(options.options(database::PLANS_BY_KEY)))
}

/// A registry that says which program this is.
pub fn registry(role: &str) -> Result<Registry> {
    let registry = Registry::new();
    let info = IntGaugeVec::new(Opts::new("fleet_build_info", "Always 1; which program runs."), &["version", "role"])?;
    info.with_label_values(&[env!("CARGO_PKG_VERSION"), role]).set(1);
    registry.register(Box::new(info))?;
    Ok(registry)
}

/// Runs the parts until `stop` or until one of them fails, then lets the others end.
pub async fn wait(mut parts: JoinSet<Result<()>>, stop: CancellationToken) -> Result<()> {
    let mut result = Ok(());
    tokio::select! {
        () = stop.cancelled() => {}
        Some(ended) = parts.join_next() => {
            result = ended.context("a part of the process panicked").flatten();
        }
    }
    stop.cancel();
    let drained = async {
        while let Some(ended) = parts.join_next().await {
            let ended = ended.context("a part of the process panicked").flatten();
            if result.is_ok() {
                result = ended;
            }
        }
    };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("some parts did not end in time; what they had in hand is rolled back and comes again");
    }
    result
}
