//! `fleet replay`: asks for a repair and follows it to its end.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::operation;
use crate::client;

#[derive(Debug, Args)]
pub struct Options {
    /// The projection to repair.
    pub projection: String,
    /// First position.
    #[arg(long)]
    pub from_position: Option<i64>,
    /// Last position.
    #[arg(long)]
    pub to_position: Option<i64>,
    /// Events that occurred at this time or later (RFC 3339).
    #[arg(long)]
    pub from_time: Option<String>,
    /// Events that occurred before this time (RFC 3339).
    #[arg(long)]
    pub to_time: Option<String>,
    /// Only this aggregate; may be repeated.
    #[arg(long = "aggregate")]
    pub aggregates: Vec<Uuid>,
    /// Only this event type; may be repeated.
    #[arg(long = "event-type")]
    pub event_types: Vec<String>,
    /// Why, for those who read it later.
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Only say what would be done.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub api: client::AdminApi,
}

pub async fn run(options: Options) -> Result<ExitCode> {
    let body = json!({
        "projection": options.projection,
        "kind": "repair",
        "selection": selection(&options),
        "dry_run": options.dry_run,
        "reason": options.reason,
        "actor": std::env::var("USER").unwrap_or_default(),
    });
    let answer = options.api.post("/admin/v1/replays", &body, &Uuid::now_v7().to_string()).await?;
    if options.dry_run {
        let or_more = if answer["more"] == true { " of the first million positions, and perhaps more" } else { "" };
        println!("would go through {} events, {} of them unsettled{or_more}", answer["selected"], answer["unsettled"]);
        return Ok(ExitCode::SUCCESS);
    }
    operation::follow(&options.api, answer).await
}

/// What was given, as the API wants it.
fn selection(options: &Options) -> Value {
    let mut selection = Map::new();
    let mut range = |name: &str, from: Value, to: Value| {
        let ends = [("from", from), ("to", to)].into_iter().filter(|(_, end)| !end.is_null());
        let ends: Map<_, _> = ends.map(|(name, end)| (name.to_owned(), end)).collect();
        if !ends.is_empty() {
            selection.insert(name.to_owned(), ends.into());
        }
    };
    range("positions", options.from_position.into(), options.to_position.into());
    range("times", options.from_time.clone().into(), options.to_time.clone().into());
    if !options.aggregates.is_empty() {
        selection.insert("aggregates".to_owned(), json!(options.aggregates));
    }
    if !options.event_types.is_empty() {
        selection.insert("event_types".to_owned(), json!(options.event_types));
    }
    selection.into()
}
