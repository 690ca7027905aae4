//! The roles: each builds its parts, spawns them, waits, and drains.

pub mod admin;
pub mod build;
pub mod event_store;
pub mod migrate;
mod until_settled;
pub mod worker;

use anyhow::{Context, Result};
use clap::Args;
use database::Endpoint;
use prometheus::{IntGaugeVec, Opts, Registry};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

pub use crate::host::running::{Running, spawn, wait};

use crate::host::running;
use crate::origin::{self, Origin};

const NO_URL: &str = "DATABASE_URL is not a Postgres URL";

/// Where the database is.
#[derive(Debug, Clone, Args)]
pub struct Url {
    /// Postgres, as postgres://user:password@host:port/database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

/// Where the database is, and how much of it a process takes.
#[derive(Debug, Clone, Args)]
pub struct Database {
    #[command(flatten)]
    url: Url,
    /// Connections that this process opens at most. Beside them are the one by which an event store writes, up to four by
    /// which a worker keeps generations, and one every 1.5 s, for a moment, by which the process sees who the primary is. From 4 to 500.
    #[arg(long, env = "FLEET_MAX_CONNECTIONS", default_value_t = 12, value_parser = clap::value_parser!(u32).range(4..=500))]
    max_connections: u32,
}

impl Url {
    fn endpoint(&self) -> Result<Endpoint> {
        endpoint(&self.database_url)
    }
}

/// The way to the database, watched for as long as the process runs.
pub fn endpoint(url: &str) -> Result<Endpoint> {
    Endpoint::watched(url).context(NO_URL)
}

/// A pool for reading and administering. It does not connect before it is used.
pub fn pool(url: &str, connections: u32) -> Result<PgPool> {
    Ok(Endpoint::new(url).context(NO_URL)?.reading(connections))
}

/// A pool for applying.
pub fn applying_pool(url: &str, connections: u32) -> Result<PgPool> {
    Ok(Endpoint::new(url).context(NO_URL)?.applying(connections))
}

/// Ends the process if a pooler stands before the database with which it could not work, by an error now or, if the database
/// is away, when it has come back.
pub async fn refuse_pooler(
    endpoint: &Endpoint,
    connections: u32,
    parts: &mut Running,
    stop: &CancellationToken,
) -> Result<()> {
    running::refuse_pooler(endpoint, connections, parts, stop).await.context("DATABASE_URL")
}

/// A registry that says which program this is.
pub fn registry(role: &str) -> Result<Registry> {
    let registry = Registry::new();
    let info = IntGaugeVec::new(
        Opts::new("fleet_build_info", "Always 1; which program runs."),
        &["version", "revision", "role"],
    )?;
    info.with_label_values(&[origin::VERSION, Origin::get().revision(), role]).set(1);
    registry.register(Box::new(info))?;
    registry.register(Box::new(crate::telemetry::lines().clone()))?;
    if traces::are_on() {
        registry.register(Box::new(crate::telemetry::spans().clone()))?;
    }
    Ok(registry)
}
