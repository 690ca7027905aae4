//! `fleet refused`: messages that the bus never took.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use event_store::relay::refused::RefusedMessage;
use workers::admin::refused::{Listing, Page};

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
    /// What relays have passed, the latest positions first.
    List {
        /// Only of this topic.
        #[arg(long)]
        topic: Option<String>,
        /// As JSON, for programs; one message a line.
        #[arg(long)]
        json: bool,
    },
}

pub async fn run(options: Options) -> Result<ExitCode> {
    match options.command {
        Command::List { topic, json } => list(&options.api, topic, json).await,
    }
}

async fn list(api: &client::AdminApi, topic: Option<String>, as_json: bool) -> Result<ExitCode> {
    let mut table = Table::new([
        numbers("POSITION", 10),
        words("TOPIC", 18),
        words("EVENT ID", 36),
        words("AGGREGATE", 36),
        numbers("VERSION", 7),
        words("EVENT", 20),
        words("REFUSED", 19),
        words("WHY", 0),
    ]);
    let mut listing = Listing { topic, ..Listing::default() };
    loop {
        let page: Page = api.get("/admin/v1/refused", &listing).await?;
        for message in &page.refused {
            if as_json {
                out::json(message)?;
            } else {
                table.row(&cells(message))?;
            }
        }
        listing.before = page.next;
        if listing.before.is_none() {
            break;
        }
    }
    if table.is_empty() && !as_json {
        out::line("the bus has taken every message")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn cells(message: &RefusedMessage) -> [String; 8] {
    [
        message.position.to_string(),
        message.topic.clone(),
        or_dash(message.event_id),
        or_dash(message.aggregate_id),
        or_dash(message.event_version),
        or_dash(message.event_type.as_ref()),
        message.refused_at.format("%FT%T").to_string(),
        message.reason.clone(),
    ]
}
