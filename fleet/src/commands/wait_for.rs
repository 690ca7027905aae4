//! `fleet wait-for`: waits until a read model has what was appended.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use uuid::Uuid;
use workers::admin::wait_for::{LONGEST_SECONDS, Token};
use workers::wait_for::{Answer, Outcome};

use super::out;
use super::pause::seconds;
use crate::client;
use crate::exit::Exit;

/// Seconds of one request: so few that nobody has to ask whether the fleet is still there.
const AT_A_TIME: f64 = 4.0;

#[derive(Debug, Args)]
pub struct Options {
    /// The projection whose read model is to be read.
    projection: String,
    /// The aggregate of the event, as the append's answer names it.
    #[arg(long = "aggregate", requires = "version")]
    aggregate_id: Option<Uuid>,
    /// Its version.
    #[arg(long, requires = "aggregate_id")]
    version: Option<i32>,
    /// Its position; alone: everything up to it.
    #[arg(long)]
    position: Option<i64>,
    /// How long to wait, such as 90s or 5m.
    #[arg(long, value_name = "TIME", value_parser = seconds, default_value = "10s")]
    timeout: u32,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: client::AdminApi,
}

pub async fn run(options: Options) -> Result<ExitCode> {
    let Options { projection, aggregate_id, version, position, timeout, json, api } = options;
    if aggregate_id.is_none() && position.is_none() {
        return Err(Exit::Usage.because("say what to wait for: --aggregate and --version, or --position"));
    }
    let path = client::path(["admin", "v1", "projections", &projection, "wait-for"]);
    let deadline = Instant::now() + Duration::from_secs(timeout.into());
    let answer: Answer = loop {
        // Nobody is waited for longer than so at a time: ask again.
        let left = deadline.saturating_duration_since(Instant::now()).as_secs_f64();
        let timeout = Some(left.min(LONGEST_SECONDS).min(AT_A_TIME));
        let answer: Answer = api.get(&path, &Token { aggregate_id, version, position, timeout }).await?;
        if answer.outcome != Outcome::Behind || Instant::now() >= deadline {
            break answer;
        }
    };
    if json {
        out::json(&answer)?;
    } else {
        out::line(said(&answer))?;
    }
    Ok(match answer.outcome {
        Outcome::Reached => Exit::Good,
        Outcome::Held | Outcome::Paused | Outcome::Behind => Exit::Unhealthy,
        Outcome::Unknown => Exit::Failure,
    }
    .into())
}

fn said(answer: &Answer) -> String {
    let mut text = format!("{}: {}", answer.projection, answer.outcome.as_str());
    if let Some(letter) = answer.dead_letter {
        text.push_str(&format!(" behind dead letter {letter}"));
    }
    if let Some(pause) = &answer.paused {
        text.push_str(&format!(" {pause}"));
    }
    if let Some(positions) = answer.behind_positions {
        text.push_str(&format!(", {positions} positions of the store"));
        match answer.estimate_seconds {
            Some(seconds) => text.push_str(&format!(", about {seconds:.0} s at this rate")),
            None => text.push_str(", and nothing moved meanwhile"),
        }
    }
    if let Some(detail) = &answer.detail {
        text.push_str(&format!(": {detail}"));
    }
    text
}
