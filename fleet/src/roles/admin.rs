//! `fleet admin`: the admin API of the whole fleet, and the measuring of lag.

use anyhow::{Context, Result};
use clap::Args;
use projections::registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use workers::Metrics;
use workers::admin::{self, Admin};
use workers::http::{self, Health};
use workers::lag::Measurer;

use crate::{cli, serve};

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    pub database: cli::Database,
    #[command(flatten)]
    pub http: cli::Http,
    #[command(flatten)]
    pub log: cli::Log,
}

pub async fn run(options: Options, stop: CancellationToken) -> Result<()> {
    let pool = super::pool(&options.database.database_url, options.database.max_connections)?;
    let registry = super::registry("admin")?;
    let metrics = Metrics::register(&registry).context("registering metrics")?;
    metrics.register_lag(&registry).context("registering metrics")?;
    let projections = registry::all().to_vec();
    let (listener, address) = serve::bind(&options.http.listen, "--http").await?;

    let measurer = Measurer::new(pool.clone(), projections.clone());
    let health = Health { pool: pool.clone(), registry, lag: Some((metrics, measurer)) };
    let router = http::router(health).merge(admin::router(Admin::new(pool, projections)));
    let mut parts = JoinSet::new();
    parts.spawn(serve::http(listener, router, stop.clone()));
    tracing::info!(http = %address, "admin: serving");
    super::wait(parts, stop).await
}
