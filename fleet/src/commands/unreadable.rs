//! `fleet unreadable`: events of the store that no reader can be given.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use event_store::unreadable::Which;
use workers::admin::unreadable::{Listed, Listing, Page, Shown};

use super::actor::Actor;
use super::out;
use super::table::{Table, numbers, or_dash, words};
use crate::client;

#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    api: client::AdminApi,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What readers have found, the latest positions first.
    List {
        /// As JSON, for programs; one event a line.
        #[arg(long)]
        json: bool,
    },
    /// One of them in part: what it consists of, and how large that is; the beginnings of it only with --payload.
    Show {
        /// Its position, or its event id.
        event: Which,
        /// Show how each member begins as well. That you looked, and why, is recorded.
        #[arg(long, requires = "reason")]
        payload: bool,
        /// On one line, for programs.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        by: Actor,
    },
}

pub async fn run(options: Options) -> Result<ExitCode> {
    match options.command {
        Command::List { json } => list(&options.api, json).await,
        Command::Show { event, payload, json, by } => show(&options.api, event, payload, json, &by).await,
    }
}

async fn list(api: &client::AdminApi, as_json: bool) -> Result<ExitCode> {
    let mut table = Table::new([
        numbers("POSITION", 10),
        words("EVENT ID", 36),
        words("AGGREGATE", 36),
        numbers("VERSION", 7),
        words("EVENT", 20),
        words("TOPIC", 18),
        numbers("STORED", 9),
        numbers("PRINTED", 10),
        words("SINCE", 19),
        words("WHY", 0),
    ]);
    let mut listing = Listing::default();
    loop {
        let page: Page = api.get("/admin/v1/unreadable", &listing).await?;
        for listed in &page.unreadable {
            if as_json {
                out::json(listed)?;
            } else {
                table.row(&cells(listed))?;
            }
        }
        listing.before = page.next;
        if listing.before.is_none() {
            break;
        }
    }
    if table.is_empty() && !as_json {
        out::line("no reader has found an event that it cannot be given")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn cells(Listed { finding, topic }: &Listed) -> [String; 10] {
    [
        finding.position.to_string(),
        finding.event_id.to_string(),
        finding.aggregate_id.to_string(),
        finding.event_version.to_string(),
        finding.event_type.clone(),
        or_dash(topic.as_ref()),
        or_dash(finding.stored_bytes),
        or_dash(finding.printed_bytes),
        finding.found_at.format("%FT%T").to_string(),
        finding.reason.clone(),
    ]
}

async fn show(api: &client::AdminApi, event: Which, payload: bool, as_json: bool, by: &Actor) -> Result<ExitCode> {
    let event = match event {
        Which::At(position) => position.to_string(),
        Which::Id(id) => id.to_string(),
    };
    let look = by.look(payload).await?;
    let shown: Shown = api.get(&format!("/admin/v1/unreadable/{event}"), &look).await?;
    out::one(&shown, as_json)?;
    Ok(ExitCode::SUCCESS)
}
