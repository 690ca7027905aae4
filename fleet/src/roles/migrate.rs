//! `fleet migrate`: brings the database up to date.

use anyhow::Result;
use clap::Args;
use read_model::Catalogue;

use super::Url;
pub use crate::host::migrations::{migrate, migrations};
use crate::telemetry::Log;

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    database: Url,
    #[command(flatten)]
    pub log: Log,
}

pub async fn run(catalogue: &Catalogue, options: &Options) -> Result<()> {
    let pool = options.database.endpoint()?.reading(2);
    let done = migrate(catalogue, &pool).await?;
    for step in &done {
        tracing::info!("done: {step}");
    }
    let end = if done.is_empty() { "nothing to do: the database is up to date" } else { "the database is up to date" };
    tracing::info!("{end}");
    Ok(())
}
