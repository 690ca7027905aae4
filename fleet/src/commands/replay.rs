//! `fleet replay`: asks for a repair and follows it to its end.

use std::process::ExitCode;

use anyhow::Result;
use chrono::{DateTime, Utc};
use clap::Args;
use events::AggregateId;
use uuid::Uuid;
use workers::admin::replays::{DryRun, Kind, Request};
use workers::operations::Operation;
use workers::replay::{Range, Selection};

use super::actor::Actor;
use super::pause::seconds;
use super::words::many;
use super::{operation, out};
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
    #[arg(long, value_parser = time)]
    pub from_time: Option<DateTime<Utc>>,
    /// Events that occurred before this time (RFC 3339).
    #[arg(long, value_parser = time)]
    pub to_time: Option<DateTime<Utc>>,
    /// Only this aggregate; may be repeated.
    #[arg(long = "aggregate")]
    pub aggregates: Vec<Uuid>,
    /// Only this event type; may be repeated.
    #[arg(long = "event-type")]
    pub event_types: Vec<String>,
    /// Events per second at most.
    #[arg(long)]
    pub rate: Option<f64>,
    /// For how long the rate holds, such as 90s, 30m, 2h or 3d, at most 7d. Without it: 1h.
    #[arg(long, value_name = "TIME", value_parser = seconds, requires = "rate")]
    pub rate_for: Option<u32>,
    /// Only say what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// As JSON, for programs: the plan, or what became of it.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    by: Actor,
    #[command(flatten)]
    pub api: client::AdminApi,
}

pub async fn run(options: Options) -> Result<ExitCode> {
    const REPLAYS: &str = "/admin/v1/replays";
    let (api, by, dry_run, json) = (options.api.clone(), options.by.clone(), options.dry_run, options.json);
    let (rate, rate_seconds) = (options.rate, options.rate_for);
    let (projection, selection) = (options.projection.clone(), options.selection());
    let (kind, reason, actor) = (Kind::Repair, by.reason.clone(), String::new());
    let mut request = Request { projection, kind, selection, rate, rate_seconds, dry_run, reason, actor };
    if dry_run {
        let planned: DryRun = api.post(REPLAYS, &request).await?;
        if json {
            out::json(&planned)?;
            return Ok(ExitCode::SUCCESS);
        }
        let plan = planned.plan;
        let or_more = if plan.more { " of the first million positions, and perhaps more" } else { "" };
        let (selected, unsettled) = (plan.selected, plan.unsettled);
        out::line(format!("would go through {}, {unsettled} of them unsettled{or_more}", many(selected, "event")))?;
        return Ok(ExitCode::SUCCESS);
    }
    request.actor = by.actor().await?;
    let operation: Operation = api.post(REPLAYS, &request).await?;
    operation::follow(&api, operation, json).await
}

impl Options {
    /// What was given; what was not selects everything.
    fn selection(self) -> Selection {
        fn range<T>(from: Option<T>, to: Option<T>) -> Option<Range<T>> {
            (from.is_some() || to.is_some()).then_some(Range { from, to })
        }
        let (aggregates, event_types) = (self.aggregates, self.event_types);
        Selection {
            positions: range(self.from_position, self.to_position),
            times: range(self.from_time, self.to_time),
            aggregates: (!aggregates.is_empty()).then(|| aggregates.into_iter().map(AggregateId).collect()),
            event_types: (!event_types.is_empty()).then(|| event_types.into_iter().collect()),
        }
    }
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    text.parse().map_err(|_| "must be a time such as 2026-01-31T08:00:00Z".to_owned())
}
