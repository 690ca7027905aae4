//! The roles: each builds its parts, spawns them, waits, and drains.

pub mod admin;
pub mod event_store;
pub mod migrate;
pub mod worker;

use std::fmt::Display;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use database::Endpoint;
use prometheus::{IntGaugeVec, Opts, Registry};
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use workers::part::part;

const NO_URL: &str = "DATABASE_URL is not a Postgres URL";

/// How long parts may take to end after `stop`. Cloud Run kills after 10 s.
const DRAIN: Duration = Duration::from_secs(8);

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
    /// Connections that this process opens at most, besides the event store's one for writing, and one every 1.5 s, for a
    /// moment, by which it sees who the primary is.
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
    parts: &mut JoinSet<Result<()>>,
    stop: &CancellationToken,
) -> Result<()> {
    const AGAIN: Duration = Duration::from_secs(1);
    let connections = connections as usize;
    if let Ok(looked) = endpoint.refuse_pooler(connections).await {
        return looked.context("DATABASE_URL");
    }
    let (endpoint, stopped) = (endpoint.clone(), stop.clone());
    spawn(parts, "looking for a pooler", stop, async move {
        let looking = async {
            loop {
                tokio::time::sleep(AGAIN).await;
                // Why it is away, the watch says.
                if let Ok(looked) = endpoint.refuse_pooler(connections).await {
                    break looked.context("DATABASE_URL");
                }
            }
        };
        let looked = stopped.run_until_cancelled(looking).await.unwrap_or(Ok(()));
        if looked.is_ok() {
            // A part that ends would end the process.
            stopped.cancelled().await;
        }
        looked
    });
    Ok(())
}

/// A registry that says which program this is.
pub fn registry(role: &str) -> Result<Registry> {
    let registry = Registry::new();
    let info = IntGaugeVec::new(Opts::new("fleet_build_info", "Always 1; which program runs."), &["version", "role"])?;
    info.with_label_values(&[env!("CARGO_PKG_VERSION"), role]).set(1);
    registry.register(Box::new(info))?;
    Ok(registry)
}

/// Adds a part, which must not end before `stop`: its end is an error that names it.
pub fn spawn<E: Display + 'static>(
    parts: &mut JoinSet<Result<()>>,
    name: impl Into<String> + Send + 'static,
    stop: &CancellationToken,
    work: impl Future<Output = Result<(), E>> + Send + 'static,
) {
    let part = part(name, stop.clone(), work);
    parts.spawn(async { Ok(part.await?) });
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
