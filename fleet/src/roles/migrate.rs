//! `fleet migrate`: brings the database up to date. Safe to run from many places at once.

use anyhow::{Context, Result};
use clap::Args;
use database::Migrations;
use read_model::Catalogue;
use sqlx::{Connection, PgConnection, PgPool};
use workers::fence::{self, Established};

use super::Url;
use crate::telemetry::Log;

/// The table by which an installation is known.
const LANDMARK: &str = "event_store_head";

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

/// What this fleet needs of its database.
pub fn migrations() -> Migrations {
    let [store, workers] = [event_store::migrations(), workers::migrations()];
    Migrations::new(store.iter().chain(workers.iter()).cloned(), LANDMARK)
}

/// The tables of the event store, of the workers, and of each projection; what was done, one line each.
pub async fn migrate(catalogue: &Catalogue, pool: &PgPool) -> Result<Vec<String>> {
    // A connection of its own: it has no time limits, and ends with its lock.
    let mut connection = pool.acquire().await.map_err(database::migrations::Error::from)?.detach();
    let done = migrations().run(&mut connection, async |connection| establish(catalogue, connection).await).await?;
    connection.close().await.context("saying goodbye to the database")?;
    Ok(done)
}

async fn establish(catalogue: &Catalogue, connection: &mut PgConnection) -> Result<Vec<String>> {
    let mut done = Vec::new();
    for projection in catalogue.projections() {
        let name = projection.name();
        let established = fence::establish(connection, *projection).await;
        let Established { projection, topics } =
            established.with_context(|| format!("establishing projection {name}"))?;
        if projection {
            done.push(format!("projection {name}"));
        } else {
            done.extend(topics.iter().map(|topic| format!("projection {name} listens to {topic}")));
        }
    }
    Ok(done)
}
