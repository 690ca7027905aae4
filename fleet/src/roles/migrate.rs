//! `fleet migrate`: brings the database up to date.

use anyhow::Result;
use clap::Args;
use read_model::Catalogue;

use super::Url;
use crate::exit::Exit;
use crate::host::Granted;
pub use crate::host::migrations::{migrate, migrate_for, migrations};
use crate::telemetry::Log;

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    database: Url,
    /// Gives a user of Postgres what its duty needs, and no more: append, relay, prune (an event store does all three), admin,
    /// worker:TOPIC, reader:PROJECTION. Separated by commas. Needs a user who may make roles.
    #[arg(long, env = "FLEET_GRANT", value_name = "DUTY=USER", value_delimiter = ',')]
    grant: Vec<String>,
    #[command(flatten)]
    pub log: Log,
}

pub async fn run(catalogue: &Catalogue, options: &Options) -> Result<()> {
    let pool = options.database.endpoint()?.reading(2);
    let given = options.grant.iter().filter(|given| !given.trim().is_empty());
    let granted: Result<Vec<Granted>, _> = given.map(|given| given.parse()).collect();
    let done =
        migrate_for(catalogue, &pool, &granted.map_err(|error| Exit::Usage.because(format!("--grant: {error}")))?)
            .await?;
    for step in &done {
        tracing::info!("done: {step}");
    }
    let end = if done.is_empty() { "nothing to do: the database is up to date" } else { "the database is up to date" };
    tracing::info!("{end}");
    Ok(())
}
