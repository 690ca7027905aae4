//! `fleet migrate`: brings the database up to date. Safe to run from many places at once.

use anyhow::{Context, Result};
use clap::Args;
use sqlx::PgPool;

use crate::cli;

#[derive(Debug, Args)]
pub struct Options {
    /// Postgres, as postgres://user:password@host:port/database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    #[command(flatten)]
    pub log: cli::Log,
}

pub async fn run(options: &Options) -> Result<()> {
    let pool = super::pool(&options.database_url, 2)?;
    migrate(&pool).await?;
    tracing::info!("the database is up to date");
    Ok(())
}

/// The tables of the event store, of the workers, and of each projection.
pub async fn migrate(pool: &PgPool) -> Result<()> {
    event_store::migrations().run(pool).await.context("migrating the event store's tables")?;
    workers::migrations().run(pool).await.context("migrating the workers' tables")?;
    for projection in projections::registry::all() {
        workers::fence::establish(pool, *projection)
            .await
            .with_context(|| format!("establishing projection {}", projection.name()))?;
    }
    Ok(())
}
