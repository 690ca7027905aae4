//! A live line for each projection: head, settled, lag, rate.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use read_model::Catalogue;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use workers::lag::{self, Status};

use crate::commands::out;

/// On a terminal the lines stay in their place; elsewhere they are printed when something has changed.
///
/// # Errors
/// [`out::Closed`]: nobody reads them any more.
pub async fn show(pool: PgPool, catalogue: Catalogue, stop: CancellationToken) -> Result<()> {
    let terminal = io::stdout().is_terminal();
    let lines = MultiProgress::new();
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
                    let bar = lines.add(ProgressBar::new_spinner());
                    bar.with_style(
                        ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
                    )
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

/// A read model that listens to `several` topics has a line for each of them, and the topic at its end.
fn line(head: i64, status: &Status, several: bool, rate: f64) -> String {
    let mut line = format!(
        "{:<18} head {head:>8}  settled {:>8}  lag {:>6} events {:>6.1} s  {rate:>7.0}/s",
        status.name, status.settled_position, status.lag_events, status.lag_seconds
    );
    if several {
        line.push_str(&format!("  on {}", status.topic));
    }
    if status.parked > 0 {
        line.push_str(&format!("  parked {}", status.parked));
    }
    if status.paused.is_some() {
        line.push_str("  paused");
    }
    line
}
