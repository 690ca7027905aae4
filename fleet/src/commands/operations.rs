//! `fleet operations`: what was asked for, and how far it is.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use uuid::Uuid;
use workers::admin::generations::Steering;
use workers::admin::operations::{Listing, Page, RateChange, Stop};
use workers::operations::Operation;
use workers::operations::stop::Switched;

use super::actor::Recorded;
use super::pause::seconds;
use super::table::{self, Table, numbers, or_dash};
use super::words::{self, counted, id};
use super::{generations, operation, out};
use crate::client;
use crate::exit::Exit;

#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    api: client::AdminApi,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The newest first.
    List {
        /// So many at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// As JSON, for programs; one operation a line.
        #[arg(long)]
        json: bool,
    },
    /// Everything about one.
    Show {
        /// Its id, as `list` has it.
        #[arg(value_parser = id)]
        id: Uuid,
        /// On one line, for programs.
        #[arg(long)]
        json: bool,
    },
    /// What a verification has found, by key: the first hundred rows of each table.
    Differences {
        /// Its id, as `list` has it.
        #[arg(value_parser = id)]
        id: Uuid,
        /// As JSON, for programs; one row a line.
        #[arg(long)]
        json: bool,
    },
    /// Stops a rebuild or a verification until it is resumed.
    Pause(Steered),
    /// Lets it go on.
    Resume(Steered),
    /// Ends a rebuild or a verification, and drops what it has built; ends a repair, which keeps what it has applied; calls off a promote, a
    /// rollback or a retirement that no worker has done yet.
    Cancel(Steered),
    /// Sets how many events a second a repair, a rebuild or a verification may go through, for a time.
    Rate {
        /// Its id, as `list` has it.
        #[arg(value_parser = id)]
        id: Uuid,
        /// Events per second at most, of all who work on it together.
        #[arg(required_unless_present = "none", conflicts_with = "none")]
        rate: Option<f64>,
        /// It may go as fast as it can.
        #[arg(long)]
        none: bool,
        /// For how long, such as 90s, 30m, 2h or 3d, at most 7d; then it may go as fast as it can. Without it: 1h.
        #[arg(long = "for", value_name = "TIME", value_parser = seconds, conflicts_with = "none")]
        length: Option<u32>,
        /// On one line, for programs: the operation as it is now.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        by: Recorded,
    },
    /// Stops all repairs, batches of retries, rebuilds and verifications. Promotes, rollbacks, retirements and pauses go on.
    Stop {
        /// For how long, such as 90s, 30m, 2h or 3d; then they go on by themselves. Without it: until `go-on`.
        #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
        length: Option<u32>,
        /// In place of the stop that there is.
        #[arg(long)]
        replace: bool,
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        by: Recorded,
    },
    /// Has all operations go on that were stopped.
    GoOn {
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        by: Recorded,
    },
    /// Waits until one has ended, and ends as it did.
    Follow {
        /// Its id, as `list` has it.
        #[arg(value_parser = id)]
        id: Uuid,
        /// As JSON, for programs: the operation, when it has ended.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct Steered {
    /// Its id, as `list` has it.
    #[arg(value_parser = id)]
    id: Uuid,
    /// On one line, for programs: the operation as it is now.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    by: Recorded,
}

pub async fn run(options: Options) -> Result<ExitCode> {
    let api = &options.api;
    match options.command {
        Command::List { limit, json } => list(api, limit, json).await,
        Command::Show { id, json } => {
            let shown: Operation = api.get(&format!("/admin/v1/operations/{id}"), &()).await?;
            out::one(&shown, json)?;
            if let Some(projection) = elsewhere(&shown) {
                out::complain(how_far(&shown, projection));
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Differences { id, json } => {
            // Of what has compared nothing, that no row differs would look like good news.
            let asked: Operation = api.get(&format!("/admin/v1/operations/{id}"), &()).await?;
            if asked.kind != "verify" || asked.result.is_none() {
                let (kind, state) = (&asked.kind, asked.state.as_str());
                return Err(Exit::Refused.because(format!("operation {id} ({kind}, {state}) has compared nothing")));
            }
            generations::differences(api, id, json).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Pause(steered) => steer(api, steered, "pause").await,
        Command::Resume(steered) => steer(api, steered, "resume").await,
        Command::Cancel(steered) => steer(api, steered, "cancel").await,
        Command::Rate { id, rate, none: _, length: seconds, json, by } => {
            let change = RateChange { rate, seconds, actor: by.actor().await?, reason: by.reason };
            let operation: Operation = api.post(&format!("/admin/v1/operations/{id}/rate"), &change).await?;
            if json {
                out::json(&operation)?;
            } else {
                out::line(format!("operation {id} {}", paced(&operation)))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Stop { length: seconds, replace, json, by } => {
            let stop = Stop { seconds, replace, actor: by.actor().await?, reason: by.reason };
            switched(&api.post("/admin/v1/operations/stop", &stop).await?, json)
        }
        Command::GoOn { json, by } => {
            let go_on = Steering { actor: by.actor().await?, reason: by.reason };
            switched(&api.post("/admin/v1/operations/go-on", &go_on).await?, json)
        }
        Command::Follow { id, json } => {
            let found: Operation = api.get(&format!("/admin/v1/operations/{id}"), &()).await?;
            operation::follow(api, found, json).await
        }
    }
}

/// The read model of an operation that is at work on a generation of it, where its progress is.
fn elsewhere(operation: &Operation) -> Option<&String> {
    // Before it has begun there is nothing to be seen of it there.
    let begun = operation.generation.is_some() && operation.finished_at.is_none();
    operation.projection.as_ref().filter(|_| begun && counted(operation).is_none())
}

fn how_far(operation: &Operation, projection: &str) -> String {
    let percent = words::percent(operation);
    if operation.kind == "verify" {
        return match percent {
            Some(100) => "how far it is: the rows are compared, in one transaction".to_owned(),
            percent => format!("how far it is: {} % of the positions", percent.unwrap_or_default()),
        };
    }
    let percent = percent.map_or(String::new(), |percent| format!("{percent} % of the positions; when it is done: "));
    format!("how far it is: {percent}fleet generations {projection}")
}

/// How fast it may go.
fn paced(operation: &Operation) -> String {
    match (operation.rate, operation.rate_until) {
        (Some(rate), Some(until)) => {
            format!(
                "goes through {rate} events a second at most, until {}, then as fast as it can",
                until.format("%FT%TZ")
            )
        }
        (Some(rate), None) => format!("goes through {rate} events a second at most"),
        (None, _) => "may go as fast as it can".to_owned(),
    }
}

fn switched(switched: &Switched, as_json: bool) -> Result<ExitCode> {
    match &switched.stopped {
        _ if as_json => out::json(switched)?,
        Some(stop) => out::line(format!("all operations are stopped {}", words::stop(stop)))?,
        None => out::line("all operations go on")?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn steer(api: &client::AdminApi, Steered { id, json, by }: Steered, verb: &str) -> Result<ExitCode> {
    let steering = Steering { actor: by.actor().await?, reason: by.reason };
    let operation: Operation = api.post(&format!("/admin/v1/operations/{id}/{verb}"), &steering).await?;
    if json {
        out::json(&operation)?;
    } else {
        out::line(format!("operation {id} is {}", operation.state.as_str()))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(api: &client::AdminApi, limit: usize, as_json: bool) -> Result<ExitCode> {
    let mut table = Table::new([
        table::words("ID", 36),
        table::words("KIND", 8),
        table::words("OF", 18),
        table::words("STATE", 10),
        numbers("SEEN", 9),
        numbers("SELECTED", 9),
        numbers("APPLIED", 9),
        numbers("PARKED", 6),
        table::words("ASKED", 19),
        table::words("BY", 12),
        table::words("REASON", 0),
    ]);
    let (mut listing, mut left) = (Listing::default(), limit);
    while left > 0 {
        listing.limit = Some(left.min(100) as i64);
        let page: Page = api.get("/admin/v1/operations", &listing).await?;
        for operation in &page.operations {
            if as_json {
                out::json(operation)?;
            } else {
                table.row(&cells(operation))?;
                if let Some(projection) = elsewhere(operation) {
                    out::advise(&format!("    {}", how_far(operation, projection)))?;
                }
                if let Some(waits) = &operation.waits {
                    out::line(format!("    waits: {waits}"))?;
                }
                if operation.rate.is_some() && operation.finished_at.is_none() {
                    out::line(format!("    {}", paced(operation)))?;
                }
                if operation.result.as_ref().is_some_and(|result| result.0["equal"] == false) {
                    out::advise(&format!("    rows differ: fleet operations differences {}", operation.id))?;
                }
                if let Some(stalled) = &operation.stalled {
                    out::line(format!(
                        "    stands still since {}: {}",
                        stalled.since.format("%FT%TZ"),
                        stalled.reason
                    ))?;
                }
            }
        }
        left -= page.operations.len().min(left);
        listing.before = page.next;
        if listing.before.is_none() {
            break;
        }
    }
    if table.is_empty() && !as_json {
        out::line("nobody has asked for anything")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn cells(operation: &Operation) -> [String; 11] {
    let of_events = |count: i64| or_dash(counted(operation).map(|_| count));
    [
        operation.id.to_string(),
        operation.kind.clone(),
        or_dash(operation.projection.as_ref()),
        operation.state.as_str().to_owned(),
        of_events(operation.seen),
        of_events(operation.selected),
        of_events(operation.applied),
        of_events(operation.parked),
        operation.created_at.format("%FT%T").to_string(),
        operation.actor.clone(),
        operation.reason.clone(),
    ]
}
