//! `fleet topics`: what the program needs of Pub/Sub, for people and for whatever makes it there.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use events::Topic;
use read_model::Catalogue;
use serde::Serialize;

use super::out;
use super::table::{Table, numbers, words};

#[derive(Debug, Args)]
pub struct Options {
    /// As JSON: what Terraform and the emulator are given, with every time that a subscription has.
    #[arg(long)]
    json: bool,
}

/// A topic with its subscription and its dead letters, as it is to be made.
#[derive(Debug, Serialize)]
struct Wanted {
    name: &'static str,
    subscription: &'static str,
    dead_letter: String,
    retention_days: u32,
    dead_letter_retention_days: u32,
    ack_deadline_seconds: u32,
    minimum_backoff_seconds: u32,
    maximum_backoff_seconds: u32,
    max_delivery_attempts: u32,
    adopts_foreign_events: bool,
}

/// Needs nothing but the program: no database, no bus, no running fleet.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(catalogue: &Catalogue, options: &Options) -> Result<ExitCode> {
    if options.json {
        out::pretty(&catalogue.topics().iter().map(|topic| wanted(topic)).collect::<Vec<_>>())?;
    } else {
        table(catalogue)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn wanted(topic: &Topic) -> Wanted {
    Wanted {
        name: topic.name,
        subscription: topic.subscription,
        dead_letter: topic.dead_letter(),
        retention_days: topic.retention_days,
        dead_letter_retention_days: Topic::DEAD_LETTER_RETENTION_DAYS,
        ack_deadline_seconds: Topic::ACK_DEADLINE_SECONDS,
        minimum_backoff_seconds: Topic::MINIMUM_BACKOFF_SECONDS,
        maximum_backoff_seconds: Topic::MAXIMUM_BACKOFF_SECONDS,
        max_delivery_attempts: Topic::MAX_DELIVERY_ATTEMPTS,
        adopts_foreign_events: topic.adopts_foreign_events,
    }
}

fn table(catalogue: &Catalogue) -> Result<()> {
    let mut table = Table::new([
        words("TOPIC", 20),
        words("SUBSCRIPTION", 24),
        numbers("DAYS", 4),
        words("AGGREGATES", 32),
        words("READ MODELS", 0),
    ]);
    for topic in catalogue.topics() {
        let listening = catalogue.listening_to(topic);
        table.row(&[
            topic.name.to_owned(),
            topic.subscription.to_owned(),
            topic.retention_days.to_string(),
            topic.aggregate_types.join(", "),
            listening.iter().map(|projection| projection.name()).collect::<Vec<_>>().join(", "),
        ])?;
    }
    Ok(())
}
