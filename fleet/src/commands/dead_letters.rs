//! `fleet dead-letters`: look at what is parked, try it again, go on without it.

use std::process::ExitCode;

use anyhow::Result;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use uuid::Uuid;
use workers::admin::dead_letters::{Batch, DiscardOne, DryRun, Listing, Page, Shown};
use workers::admin::discarded;
use workers::dead_letters::park::Reason;
use workers::dead_letters::{self, DeadLetter};
use workers::operations::Operation;

use super::actor::{Actor, Recorded};
use super::table::{Table, numbers, or_dash, words};
use super::words::id;
use super::{operation, out};
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
    /// What is parked, the oldest first.
    List {
        #[command(flatten)]
        filter: Filter,
        /// As JSON, for programs; one letter a line.
        #[arg(long)]
        json: bool,
    },
    /// Everything about one dead letter; the payload only with --payload.
    Show {
        /// Its id, as `list` has it.
        #[arg(value_parser = id)]
        id: Uuid,
        /// Show the payload as well. That you looked, and why, is recorded.
        #[arg(long, requires = "reason")]
        payload: bool,
        /// On one line, for programs.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        by: Actor,
    },
    /// Tries again, in order: one, or all that a filter names. Without --yes it only counts.
    Retry {
        /// The dead letters; none: all that the filter names.
        #[arg(value_parser = id)]
        ids: Vec<Uuid>,
        #[command(flatten)]
        filter: Filter,
        /// All there are.
        #[arg(long)]
        all: bool,
        /// Events a second at most, of each worker.
        #[arg(long, default_value_t = 1000.0)]
        rate: f64,
        /// Do it.
        #[arg(long)]
        yes: bool,
        /// As JSON, for programs: the plan, or what became of it.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        by: Actor,
    },
    /// Goes on without one dead letter: the read model will lack its event. `dead-letters discarded` lists it from then on.
    Discard {
        /// Its id, as `list` has it.
        #[arg(value_parser = id)]
        id: Uuid,
        /// Its event id, as `list` has it: what you have seen is what is discarded. Leave it out only where there is none.
        #[arg(long, value_parser = id)]
        event_id: Option<Uuid>,
        /// Its error, word for word as `list` has it.
        #[arg(long)]
        error: String,
        /// As JSON, for programs: what became of it.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        by: Recorded,
    },
    /// What was discarded: the read models go on without it. What was parked last comes first.
    Discarded {
        /// So many at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// As JSON, for programs; one letter a line.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct Filter {
    /// Only of this projection.
    #[arg(long)]
    projection: Option<String>,
    /// Only of this generation of the projection. Without it: of all that are kept.
    #[arg(long, requires = "projection")]
    generation: Option<i32>,
    /// Only of this topic.
    #[arg(long)]
    topic: Option<String>,
    /// Only parked for this class of reason.
    #[arg(long, value_name = "CLASS", value_parser = reason())]
    parked_for: Option<Reason>,
    /// Only of this aggregate.
    #[arg(long = "aggregate")]
    aggregate_id: Option<Uuid>,
    /// Only of this event type.
    #[arg(long)]
    event_type: Option<String>,
}

/// The classes of reasons: a closed list, so that one that is misspelt is named before anybody is asked.
fn reason() -> impl TypedValueParser<Value = Reason> {
    let named = |name: String| Reason::ALL.into_iter().find(|reason| reason.as_str() == name);
    PossibleValuesParser::new(Reason::ALL.map(Reason::as_str))
        .try_map(move |name| named(name).ok_or("is not a class of reasons"))
}

impl Filter {
    fn selecting(self, ids: Vec<Uuid>) -> dead_letters::Filter {
        let Self { projection, generation, topic, parked_for: reason, aggregate_id, event_type } = self;
        let ids = (!ids.is_empty()).then(|| ids.into_iter().collect());
        dead_letters::Filter {
            ids,
            projection,
            generation,
            topic,
            reason,
            aggregate_id,
            event_type,
            ..dead_letters::Filter::default()
        }
    }

    fn listing(self) -> Listing {
        let Self { projection, generation, topic, parked_for: reason, aggregate_id, event_type } = self;
        Listing { projection, generation, topic, reason, aggregate_id, event_type, ..Listing::default() }
    }
}

pub async fn run(options: Options) -> Result<ExitCode> {
    let api = &options.api;
    match options.command {
        Command::List { filter, json } => list(api, filter.listing(), json).await,
        Command::Show { id, payload, json, by } => show(api, id, payload, json, &by).await,
        Command::Retry { ids, filter, all, rate, yes, json, by } => {
            let filter = filter.selecting(ids);
            if filter == dead_letters::Filter::default() && !all {
                return Err(
                    Exit::Usage.because("name dead letters, filter them (--projection, --parked-for, …), or say --all")
                );
            }
            retry(api, filter, rate, yes, json, &by).await
        }
        Command::Discarded { limit, json } => discarded(api, limit, json).await,
        Command::Discard { id, event_id, error, json, by } => {
            let discard = DiscardOne { event_id, error, actor: by.actor().await?, reason: by.reason };
            let operation: Operation = api.post(&format!("/admin/v1/dead-letters/{id}/discard"), &discard).await?;
            operation::follow(api, operation, json).await
        }
    }
}

async fn list(api: &client::AdminApi, mut listing: Listing, as_json: bool) -> Result<ExitCode> {
    let mut table = Table::new([
        words("ID", 36),
        words("OF", 18),
        words("GENERATION", 11),
        words("REASON", 16),
        words("AGGREGATE", 36),
        words("EVENT", 20),
        numbers("VERSION", 7),
        words("EVENT ID", 36),
        numbers("WAITING", 7),
        numbers("TRIED", 5),
        words("SINCE", 19),
        words("ERROR", 0),
    ]);
    loop {
        let page: Page = api.get("/admin/v1/dead-letters", &listing).await?;
        for letter in &page.dead_letters {
            if as_json {
                out::json(letter)?;
            } else {
                table.row(&cells(letter))?;
            }
        }
        listing.after = page.next;
        if listing.after.is_none() {
            break;
        }
    }
    if table.is_empty() && !as_json {
        out::line("nothing is parked")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn cells(letter: &DeadLetter) -> [String; 12] {
    let decided = letter.decision.as_ref().map_or(String::new(), |decision| format!(" ({decision})"));
    [
        letter.id.to_string(),
        letter.projection.as_ref().unwrap_or(&letter.topic).clone(),
        or_dash(letter.generation.map(|it| format!("{it}{}", if letter.is_read { "" } else { " not read" }))),
        format!("{}{decided}", letter.reason),
        or_dash(letter.aggregate_id),
        or_dash(letter.event_type.as_ref()),
        or_dash(letter.event_version),
        or_dash(letter.event_id),
        or_dash(letter.waiting),
        letter.attempts.to_string(),
        letter.first_parked_at.format("%FT%T").to_string(),
        letter.error.clone(),
    ]
}

async fn discarded(api: &client::AdminApi, limit: usize, as_json: bool) -> Result<ExitCode> {
    let mut table = Table::new([
        words("ID", 36),
        words("OF", 18),
        words("REASON", 16),
        numbers("POSITION", 10),
        words("DISCARDED", 20),
        words("BY", 12),
        words("BECAUSE", 0),
    ]);
    let (mut listing, mut left) = (discarded::Listing::default(), limit);
    while left > 0 {
        listing.limit = Some(left.min(100) as i64);
        let page: discarded::Page = api.get("/admin/v1/discarded", &listing).await?;
        for letter in &page.discarded {
            if as_json {
                out::json(letter)?;
            } else {
                table.row(&[
                    letter.id.to_string(),
                    letter.projection.as_ref().unwrap_or(&letter.topic).clone(),
                    letter.reason.clone(),
                    or_dash(letter.position),
                    letter.discarded_at.format("%FT%TZ").to_string(),
                    letter.actor.clone(),
                    letter.because.clone(),
                ])?;
            }
        }
        left -= page.discarded.len().min(left);
        listing.before = page.next;
        if listing.before.is_none() {
            break;
        }
    }
    if table.is_empty() && !as_json {
        out::line("nothing was discarded")?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(api: &client::AdminApi, id: Uuid, payload: bool, as_json: bool, by: &Actor) -> Result<ExitCode> {
    let look = by.look(payload).await?;
    let shown: Shown = api.get(&format!("/admin/v1/dead-letters/{id}"), &look).await?;
    out::one(&shown, as_json)?;
    Ok(ExitCode::SUCCESS)
}

async fn retry(
    api: &client::AdminApi,
    filter: dead_letters::Filter,
    rate: f64,
    yes: bool,
    as_json: bool,
    by: &Actor,
) -> Result<ExitCode> {
    const BATCHES: &str = "/admin/v1/dead-letter-batches";
    let named = filter.ids.clone().unwrap_or_default();
    let batch = Batch::of(filter);
    let planned: DryRun = api.post(BATCHES, &batch).await?;
    if as_json && (!yes || planned.plan.plan_token.is_none()) {
        out::json(&planned)?;
        return Ok(ExitCode::SUCCESS);
    }
    let DryRun { plan, .. } = planned;
    for group in plan.groups.iter().filter(|_| !as_json) {
        out::line(format!(
            "{}: {} parked as {}, waiting behind them: {}; such as: {}",
            group.projection.as_ref().unwrap_or(&group.topic),
            group.selected,
            group.reason,
            group.waiting,
            group.error
        ))?;
    }
    if plan.more && !as_json {
        out::line("these are the oldest; there are more, for another time")?;
    }
    if plan.plan_token.is_none() {
        if let Some(id) = named.first() {
            let others = if named.len() > 1 { " and the others" } else { "" };
            let why = "there is no such dead letter, or it was retried or discarded";
            return Err(Exit::Refused.because(format!("nothing to retry of {id}{others}: {why}")));
        }
        out::line("nothing to retry")?;
        return Ok(ExitCode::SUCCESS);
    }
    if !yes {
        out::line(format!("nothing is done yet: say --yes to retry these {}", plan.selected))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (actor, reason) = (by.actor().await?, by.reason.clone());
    let batch = Batch { dry_run: false, plan_token: plan.plan_token, rate, actor, reason, ..batch };
    let operation: Operation = api.post(BATCHES, &batch).await?;
    operation::follow(api, operation, as_json).await
}
