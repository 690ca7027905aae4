//! `fleet dead-letters`: look at what is parked, try it again, go on without it.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::by::By;
use super::{operation, out};
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
        id: Uuid,
        /// Show the payload as well. That you looked, and why, is recorded.
        #[arg(long, requires = "reason")]
        payload: bool,
        #[command(flatten)]
        by: By,
    },
    /// Tries again, in order: one, or all that a filter names. Without --yes it only counts.
    Retry {
        /// The dead letters; none: all that the filter names.
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
        #[command(flatten)]
        by: By,
    },
    /// Goes on without one dead letter: the read model will lack its event. It stays in the table discarded_events.
    Discard {
        id: Uuid,
        /// Its event id, as you have seen it; leave it out where there was none.
        #[arg(long)]
        event_id: Option<Uuid>,
        /// Its error, as you have seen it.
        #[arg(long)]
        error: String,
        #[command(flatten)]
        by: By,
    },
}

#[derive(Debug, Args)]
struct Filter {
    /// Only of this projection.
    #[arg(long)]
    projection: Option<String>,
    /// Only of this topic.
    #[arg(long)]
    topic: Option<String>,
    /// Only parked for this class of reason, such as wrong_data.
    #[arg(long, value_name = "CLASS")]
    parked_for: Option<String>,
    /// Only of this aggregate.
    #[arg(long = "aggregate")]
    aggregate_id: Option<Uuid>,
    /// Only of this event type.
    #[arg(long)]
    event_type: Option<String>,
}

impl Filter {
    fn fields(&self) -> Map<String, Value> {
        let fields = [
            ("projection", json!(self.projection)),
            ("topic", json!(self.topic)),
            ("reason", json!(self.parked_for)),
            ("aggregate_id", json!(self.aggregate_id)),
            ("event_type", json!(self.event_type)),
        ];
        fields.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

pub async fn run(options: Options) -> Result<ExitCode> {
    let api = &options.api;
    match options.command {
        Command::List { filter, json } => list(api, &filter, json).await,
        Command::Show { id, payload, by } => show(api, id, payload, &by).await,
        Command::Retry { ids, filter, all, rate, yes, by } => {
            let mut filter = filter.fields();
            if !ids.is_empty() {
                filter.insert("ids".to_owned(), json!(ids));
            }
            if filter.is_empty() && !all {
                bail!("name dead letters, filter them (--projection, --parked-for, …), or say --all");
            }
            retry(api, &filter.into(), rate, yes, &by).await
        }
        Command::Discard { id, event_id, error, by } => {
            let body = json!({"event_id": event_id, "error": error, "reason": by.reason, "actor": by.actor()});
            let answer = api.post(&format!("/admin/v1/dead-letters/{id}/discard"), &body, &key()).await?;
            operation::follow(api, answer).await
        }
    }
}

async fn list(api: &client::AdminApi, filter: &Filter, as_json: bool) -> Result<ExitCode> {
    let mut after: Option<String> = None;
    let mut any = false;
    loop {
        let fields = filter.fields();
        let mut query: Vec<(&str, String)> = Vec::new();
        for (name, value) in &fields {
            query.push((name, value.as_str().unwrap_or_default().to_owned()));
        }
        query.extend(after.take().map(|id| ("after", id)));
        let page: Value = api.get("/admin/v1/dead-letters", &query).await?;
        let letters = page["dead_letters"].as_array().context("the answer has no dead_letters")?;
        if !as_json && !any && !letters.is_empty() {
            println!("{}", row(["ID", "OF", "REASON", "EVENT", "VERSION", "WAITING", "TRIED", "SINCE", "ERROR"]));
        }
        any |= !letters.is_empty();
        for letter in letters {
            if as_json {
                println!("{letter}");
            } else {
                println!("{}", line(letter));
            }
        }
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    if !any && !as_json {
        println!("nothing is parked");
    }
    Ok(ExitCode::SUCCESS)
}

fn line(letter: &Value) -> String {
    let text = |name: &str| match &letter[name] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let of = if letter["projection"].is_null() { text("topic") } else { text("projection") };
    let decided = letter["decision"].as_str().map_or(String::new(), |decision| format!(" ({decision})"));
    let since: String = text("first_parked_at").chars().take(19).collect();
    row([
        &text("id"),
        &of,
        &(text("reason") + &decided),
        &text("event_type"),
        &text("event_version"),
        &text("waiting"),
        &text("attempts"),
        &since,
        &text("error"),
    ])
}

fn row([id, of, reason, event, version, waiting, tried, since, error]: [&str; 9]) -> String {
    format!(
        "{id:<36}  {of:<18}  {reason:<16}  {event:<20}  {version:>7}  {waiting:>7}  {tried:>5}  {since:<19}  {error}"
    )
}

async fn show(api: &client::AdminApi, id: Uuid, payload: bool, by: &By) -> Result<ExitCode> {
    let query = if payload { by.look() } else { Vec::new() };
    let letter: Value = api.get(&format!("/admin/v1/dead-letters/{id}"), &query).await?;
    out::pretty(&letter)?;
    Ok(ExitCode::SUCCESS)
}

async fn retry(api: &client::AdminApi, filter: &Value, rate: f64, yes: bool, by: &By) -> Result<ExitCode> {
    let batches = "/admin/v1/dead-letter-batches";
    let mut body = json!({"action": "retry", "filter": filter});
    let plan = api.post(batches, &body, &key()).await?;
    for group in plan["groups"].as_array().into_iter().flatten() {
        let of = group["projection"].as_str().or(group["topic"].as_str()).unwrap_or("?");
        println!(
            "{of}: {} parked as {}, {} events wait behind; such as: {}",
            group["selected"],
            group["reason"].as_str().unwrap_or("?"),
            group["waiting"],
            group["error"].as_str().unwrap_or_default()
        );
    }
    if plan["more"] == true {
        println!("these are the oldest; there are more, for another time");
    }
    let Some(token) = plan["plan_token"].as_str() else {
        println!("nothing to retry");
        return Ok(ExitCode::SUCCESS);
    };
    if !yes {
        println!("nothing is done yet: say --yes to retry these {}", plan["selected"]);
        return Ok(ExitCode::SUCCESS);
    }
    body["dry_run"] = json!(false);
    body["plan_token"] = json!(token);
    body["rate"] = json!(rate);
    body["reason"] = json!(by.reason);
    body["actor"] = json!(by.actor());
    let answer = api.post(batches, &body, &key()).await?;
    operation::follow(api, answer).await
}

/// Makes this request, however often it is sent, one.
fn key() -> String {
    Uuid::now_v7().to_string()
}
