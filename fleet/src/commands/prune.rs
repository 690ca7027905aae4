//! `fleet prune`: forgets bookkeeping that is old, by hand. Whoever runs an event store need not: it does so each hour.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use workers::admin::prunes::{DryRun, Request};
use workers::retention::{Old, Pruned, Table as Kept};

use super::actor::Actor;
use super::out;
use super::table::{Table, numbers, or_dash, words};
use crate::client;
use crate::keep::Keep;

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    keep: Keep,
    /// Do it; without this it only says what would go.
    #[arg(long, requires = "reason")]
    yes: bool,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    by: Actor,
    #[command(flatten)]
    api: client::AdminApi,
}

pub async fn run(options: Options) -> Result<ExitCode> {
    const PRUNES: &str = "/admin/v1/prunes";
    let Options { keep, yes, json, by, api } = options;
    let (keep, nobody) = (keep.retention()?, String::new());
    let request = Request { keep, dry_run: true, plan_token: None, actor: nobody.clone(), reason: nobody };
    let plan: DryRun = api.post(PRUNES, &request).await?;
    if !yes {
        if json {
            out::json(&plan)?;
        } else {
            show(&plan.old)?;
            out::line("nothing is done yet: say --yes to forget what is old")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let (actor, reason, plan_token) = (by.actor().await?, by.reason, Some(plan.plan_token));
    let request = Request { dry_run: false, plan_token, actor, reason, ..request };
    let mut all = Pruned { pruned: BTreeMap::new(), more: true };
    while all.more {
        // The server does a bounded part of it at a time.
        let part: Pruned = api.post(PRUNES, &request).await?;
        for (table, rows) in part.pruned {
            *all.pruned.entry(table).or_default() += rows;
        }
        all.more = part.more;
    }
    if json {
        out::json(&all)?;
    } else {
        for (table, rows) in &all.pruned {
            out::line(format!("{}: {rows} pruned", table.as_str()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(old: &[Old]) -> Result<()> {
    let mut table = Table::new([words("TABLE", 18), numbers("OLD", 8), words("BEFORE", 19), words("OLDEST", 19)]);
    let time = |at: Option<chrono::DateTime<chrono::Utc>>| or_dash(at.map(|at| at.format("%FT%T").to_string()));
    for Old { table: kept, before, rows, oldest } in old {
        let kept: &Kept = kept;
        table.row(&[kept.as_str().to_owned(), rows.to_string(), time(*before), time(*oldest)])?;
    }
    Ok(())
}
