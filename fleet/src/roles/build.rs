//! `fleet build PROJECTION`: builds some parts of a rebuild that was asked for, and ends. Tasks of one Cloud Run job share them.

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, ensure};
use clap::Args;
use read_model::Catalogue;
use tokio_util::sync::CancellationToken;
use workers::apply::Applier;
use workers::generations::tasks::{Outcome, Task};

use super::Database;
use crate::host::Parts;
use crate::telemetry;

#[derive(Debug, Args)]
pub struct Options {
    /// The projection whose rebuild is built.
    #[arg(env = "FLEET_PROJECTION")]
    projection: String,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    pub telemetry: telemetry::Settings,
    /// Which of the tasks this is, from 0. They deal out the parts: of four tasks, task 1 builds parts 1, 5, 9 and so on.
    #[arg(long, env = "CLOUD_RUN_TASK_INDEX", default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..=9999))]
    task: i32,
    /// How many tasks share the parts.
    #[arg(long, env = "CLOUD_RUN_TASK_COUNT", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    tasks: i32,
}

/// # Errors
/// There is no such projection or task, or no way to the database.
pub async fn run(catalogue: &Catalogue, options: Options, stop: CancellationToken) -> Result<ExitCode> {
    let Options { projection, database, task: index, tasks: count, .. } = options;
    ensure!(index < count, "task {index} is none of {count}: they are numbered from 0");
    let found = catalogue.projection(&projection);
    let projection = found.with_context(|| format!("there is no projection {projection:?}"))?;
    let topic = projection.topics().first().context("it listens to no topic")?;
    let registry = super::registry("build")?;
    let to = database::options(&database.url.database_url).context(super::NO_URL)?;
    let parts = Parts::at(catalogue, to).connections(database.max_connections).registry(registry);
    let mut parts = parts.shutdown(stop).start().await.context("DATABASE_URL")?;
    let applier = Applier::new(projection, topic, parts.building().clone(), parts.metrics()?);
    let task = Task { applier, head: parts.head().clone(), reading: parts.pool().clone(), index, count };
    let ended = Arc::new(OnceLock::new());
    let (reached, stop) = (ended.clone(), parts.stop().clone());
    parts.spawn("building", async move {
        let outcome = task.run(stop.clone()).await;
        reached.set(outcome).expect("nobody else sets it");
        stop.cancel();
        Ok::<_, Infallible>(())
    });
    tracing::info!(projection = projection.name(), task = index, tasks = count, "build: working");
    parts.run().await?;
    Ok(exit_code(projection.name(), ended.get()))
}

fn exit_code(projection: &str, outcome: Option<&Outcome>) -> ExitCode {
    match outcome {
        Some(Outcome::Built(operation)) => {
            tracing::info!(projection, %operation, "build: the parts of this task are built");
            ExitCode::SUCCESS
        }
        Some(Outcome::Over(operation, state, error)) => {
            let (state, error) = (state.as_str(), error.as_deref().unwrap_or_default());
            tracing::error!(projection, %operation, error, "build: the rebuild is {state}");
            ExitCode::FAILURE
        }
        Some(Outcome::Nothing) => {
            tracing::error!(
                projection,
                "build: nobody has asked for a rebuild by this version of the code: fleet rebuild"
            );
            ExitCode::FAILURE
        }
        Some(Outcome::Stopped) | None => {
            tracing::error!(projection, "build: ended before its parts were built");
            ExitCode::FAILURE
        }
    }
}
