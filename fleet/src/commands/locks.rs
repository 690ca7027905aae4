//! `fleet locks`: who waits for whom in the database.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use workers::admin::locks::Locks;
use workers::locks::Wait;

use super::out;
use super::words::{called, duration, many};
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
    for (wait, others) in alike(&locks.waits) {
        let (name, waits_for, since) = (called(&wait.name), &wait.waits_for, duration(wait.seconds));
        out::line(format!("pid {} ({name}) has waited {since} for {waits_for}", wait.pid))?;
        out::line(format!("    {}", wait.in_the_way()))?;
        if others > 0 {
            let others = many(others, "other session");
            out::line(format!("    and so have {others} of the same name, for less time"))?;
        }
    }
    if locks.waits.is_empty() {
        out::line(format!("nobody waits for a lock  [{}]", locks.observed_at.format("%T UTC")))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Those that have waited longest, and how many of the same name wait for the same, held by the same.
fn alike(waits: &[Wait]) -> Vec<(&Wait, usize)> {
    let same = |one: &Wait, other: &Wait| {
        let holders = |wait: &Wait| wait.held_by.iter().map(|holder| holder.pid).collect::<Vec<_>>();
        one.name == other.name && one.waits_for == other.waits_for && holders(one) == holders(other)
    };
    let mut alike: Vec<(&Wait, usize)> = Vec::new();
    for wait in waits {
        match alike.iter_mut().find(|(first, _)| same(first, wait)) {
            Some((_, others)) => *others += 1,
            None => alike.push((wait, 0)),
        }
    }
    alike
}
