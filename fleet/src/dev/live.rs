//! A live line for each projection: how far it is, what is not applied yet, how fast it goes.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use read_model::Catalogue;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use workers::lag::{self, State, Status};

use crate::commands::out;
use crate::commands::words::duration;

/// What the words of the lines mean.
pub const MEANING: &str = "settled: every event up to there is applied, skipped or parked";

/// On a terminal the lines stay in their place, below whatever else is written; elsewhere they are printed when something has
/// changed.
///
/// # Errors
/// [`out::Closed`]: nobody reads them any more.
pub async fn show(pool: PgPool, catalogue: Catalogue, stop: CancellationToken) -> Result<()> {
    let terminal = io::stdout().is_terminal();
    let mut bars: HashMap<(String, String), ProgressBar> = HashMap::new();
    let mut before: HashMap<(String, String), (Instant, i64, String)> = HashMap::new();
    let mut tick = tokio::time::interval(Duration::from_secs(if terminal { 1 } else { 2 }));
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let Ok(report) = lag::report(&pool, catalogue.projections()).await else { continue };
        let several = |one: &Status| report.projections.iter().filter(|other| other.name == one.name).count() > 1;
        for status in &report.projections {
            let now = Instant::now();
            let key = (status.name.clone(), status.topic.clone());
            let last = before.get(&key);
            let rate = last.map_or(0.0, |(at, settled, _)| {
                (status.settled_position - settled) as f64 / (now - *at).as_secs_f64().max(0.001)
            });
            let line = line(report.store.head_position, status, several(status), rate);
            if terminal {
                let bar = bars.entry(key.clone()).or_insert_with(|| {
                    // Cut off where the terminal ends: a line that wraps would be left behind at every change.
                    let style = ProgressStyle::with_template("{wide_msg}");
                    let bar = out::live().add(ProgressBar::new_spinner());
                    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
                });
                bar.set_message(line.clone());
                bar.tick();
            } else if last.is_none_or(|(_, _, shown)| *shown != line) {
                out::line(&line)?;
            }
            before.insert(key, (now, status.settled_position, line));
        }
    }
    for bar in bars.values() {
        bar.abandon();
    }
    Ok(())
}

/// A read model that listens to `several` topics has a line for each of them, and the topic at its end. What needs somebody comes
/// before what does not.
fn line(head: i64, status: &Status, several: bool, rate: f64) -> String {
    let Status { name, settled_position: settled, lag_events: behind, .. } = status;
    // The store may have grown since its head was read.
    let head = head.max(*settled);
    let mut line = format!("{name:<18} ");
    if status.paused.is_some() {
        line.push_str("PAUSED  ");
    }
    if status.state == State::Failing {
        line.push_str("FAILING  ");
    }
    if status.parked > 0 {
        line.push_str(&format!("{} PARKED  ", status.parked));
    }
    // Where nothing is behind, everything is settled, and the position that says so follows within a second.
    let settled = if *behind > 0 { *settled } else { head };
    line.push_str(&format!("settled {settled} of {head}, "));
    if *behind > 0 {
        line.push_str(&format!("{behind} behind by {}, {rate:.0}/s", duration(status.lag_seconds)));
    } else {
        line.push_str("up to date");
    }
    if several {
        line.push_str(&format!("  on {}", status.topic));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_and_never_says_that_more_is_settled_than_there_is() {
        let status = serde_json::json!({"name": "customer_returns", "topic": "order-events", "state": "running",
            "lag_events": 0, "lag_seconds": 0.0, "lag_at_most": false, "settled_position": 120, "parked": 0,
            "parked_oldest_seconds": 0.0, "held_aggregates": 0, "processed_event_ids": 0, "generation": 1, "version": 1});
        let mut status: Status = serde_json::from_value(status).expect("a status");
        assert_eq!(line(100, &status, false, 3.0), "customer_returns   settled 120 of 120, up to date");
        assert_eq!(line(121, &status, false, 3.0), "customer_returns   settled 121 of 121, up to date");
        (status.lag_events, status.lag_seconds, status.settled_position, status.parked) =
            (10_000, 700.0, 12_345_678, 2);
        let failing = Status { state: State::Failing, ..status.clone() };
        assert!(line(121, &failing, false, 3.0).starts_with("customer_returns   FAILING  2 PARKED  "));
        let line = line(99_999_999, &status, false, 12_000.0);
        assert_eq!(line, "customer_returns   2 PARKED  settled 12345678 of 99999999, 10000 behind by 12 min, 12000/s");
    }
}
