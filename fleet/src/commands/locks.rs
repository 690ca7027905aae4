//! `fleet locks`: who waits for whom in the database.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use workers::admin::locks::Locks;

use super::out;
use super::words::{called, duration};
use crate::client;

#[derive(Debug, Args)]
pub struct Options {
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: client::AdminApi,
}

pub async fn run(options: Options) -> Result<ExitCode> {
    let locks: Locks = options.api.get("/admin/v1/locks", &()).await?;
    if options.json {
        out::json(&locks)?;
        return Ok(ExitCode::SUCCESS);
    }
    for wait in &locks.waits {
        let (name, waits_for, since) = (called(&wait.name), &wait.waits_for, duration(wait.seconds));
        out::line(format!("pid {} ({name}) has waited {since} for {waits_for}", wait.pid))?;
        out::line(format!("    {}", wait.in_the_way()))?;
    }
    if locks.waits.is_empty() {
        out::line(format!("nobody waits for a lock  [{}]", locks.observed_at.format("%T UTC")))?;
    }
    Ok(ExitCode::SUCCESS)
}
