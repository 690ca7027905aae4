//! `fleet inspect`: one aggregate, and how far each projection is with it.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use uuid::Uuid;
use workers::admin::aggregates::{Inspected, Looking};
use workers::inspect::Progress;

use super::out;
use super::table::{Table, numbers, or_dash, words};
use super::words::{id, many};
use crate::client;

#[derive(Debug, Args)]
pub struct Options {
    /// The aggregate.
    #[arg(value_parser = id)]
    aggregate_id: Uuid,
    /// Events behind this version; without it from the first on.
    #[arg(long, value_name = "VERSION")]
    after: Option<i32>,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: client::AdminApi,
}

pub async fn run(options: Options) -> Result<ExitCode> {
    let Options { aggregate_id, after, json, api } = options;
    let path = format!("/admin/v1/aggregates/{aggregate_id}");
    let inspected: Inspected = api.get(&path, &Looking { after, limit: None }).await?;
    if json {
        out::json(&inspected)?;
    } else {
        show(&inspected)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(inspected: &Inspected) -> Result<()> {
    let Inspected { aggregate_id, aggregate_type, topic, last_version, projections, events, next } = inspected;
    let on = topic.as_ref().map_or_else(|| "on no topic of this fleet".to_owned(), |topic| format!("on {topic}"));
    out::line(format!("{aggregate_type} {aggregate_id} {on}, {}\n", many(*last_version, "version")))?;
    let mut table = Table::new([words("PROJECTION", 18), numbers("APPLIED", 7), words("NEXT", 0)]);
    for progress in projections {
        table.row(&[progress.projection.clone(), progress.applied_version.to_string(), ahead(progress)])?;
    }
    for progress in projections {
        for gone in &progress.discarded {
            let (version, at) = (or_dash(gone.version), gone.discarded_at.format("%FT%TZ"));
            let (name, reason, operation) = (&progress.projection, &gone.reason, gone.operation_id);
            out::line(format!("{name} goes on without version {version} ({reason}), discarded {at} by {operation}"))?;
        }
        if progress.more_discarded {
            out::line(format!("{} goes on without others, too", progress.projection))?;
        }
    }
    out::line("")?;
    let mut table = Table::new([
        numbers("VERSION", 7),
        numbers("POSITION", 10),
        words("TYPE", 28),
        words("OCCURRED", 20),
        words("RECORDED", 20),
        words("TRACE", 0),
    ]);
    for event in events {
        table.row(&[
            event.version.to_string(),
            event.position.to_string(),
            event.event_type.clone(),
            event.occurred_at.format("%FT%TZ").to_string(),
            event.recorded_at.format("%FT%TZ").to_string(),
            or_dash(event.trace_id.as_ref()),
        ])?;
    }
    match next {
        Some(next) => out::line(format!("there are more: --after {next}")),
        None => Ok(()),
    }
}

/// What is next, and what it waits for.
fn ahead(progress: &Progress) -> String {
    let Some(next) = &progress.next else { return "nothing".to_owned() };
    let mut text = format!("{} {}", next.version, next.event_type);
    if let Some(letter) = &progress.dead_letter {
        let decision = letter.decision.as_ref().map_or_else(String::new, |decision| format!(", {decision} decided"));
        text.push_str(&format!(", held at dead letter {} ({}{decision}): {}", letter.id, letter.reason, letter.error));
    }
    if let Some(pause) = &progress.paused {
        text.push_str(&format!(", paused {pause}"));
    }
    text
}
