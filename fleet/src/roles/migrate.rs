//! `fleet migrate`: brings the database up to date.

use anyhow::Result;
use clap::Args;
use read_model::Catalogue;

use crate::cli;
pub use crate::host::migrations::{migrate, migrations};

#[derive(Debug, Args)]
pub struct Options {
    /// Postgres, as postgres://user:password@host:port/database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    #[command(flatten)]
    pub log: cli::Log,
}

pub async fn run(catalogue: &Catalogue, options: &Options) -> Result<()> {
    let pool = super::endpoint(&options.database_url)?.reading(2);
    let done = migrate(catalogue, &pool).await?;
    for step in &done {
        tracing::info!("done: {step}");
    }
    let end = if done.is_empty() { "nothing to do: the database is up to date" } else { "the database is up to date" };
    tracing::info!("{end}");
    Ok(())
}
