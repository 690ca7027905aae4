//! `fleet status`: how far each projection is.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;

use crate::client;

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    pub api: client::AdminApi,
    /// As JSON, for programs.
    #[arg(long)]
    pub json: bool,
    /// Again every second, until Ctrl-C.
    #[arg(long)]
    pub watch: bool,
}

pub async fn run(options: Options) -> Result<ExitCode> {
    loop {
        let report: Value = options.api.get("/admin/v1/projections", &[]).await?;
        let text = if options.json { format!("{report}\n") } else { table(&report) };
        let mut out = io::stdout().lock();
        if options.watch && !options.json && out.is_terminal() {
            // Home, and clear to the end: the table stays in its place.
            write!(out, "\x1b[H\x1b[J").context("writing to the terminal")?;
        }
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("writing the status")?;
        drop(out);
        if !options.watch {
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn table(report: &Value) -> String {
    let mut text = format!("store head {}\n", report["store"]["head_position"]);
    text.extend(open_snapshot(&report["store"]["oldest_snapshot"]));
    text.push('\n');
    text.push_str(&format!(
        "{:<18} {:<20} {:<8} {:>10} {:>10} {:>12} {:>7} {:>5}\n",
        "PROJECTION", "TOPIC", "STATE", "LAG EVENTS", "LAG", "SETTLED", "PARKED", "HELD"
    ));
    for projection in report["projections"].as_array().into_iter().flatten() {
        let word = |name: &str| projection[name].as_str().unwrap_or("?").to_owned();
        let seconds = projection["lag_seconds"].as_f64().unwrap_or_default();
        text.push_str(&format!(
            "{:<18} {:<20} {:<8} {:>10} {:>10} {:>12} {:>7} {:>5}\n",
            word("name"),
            word("topic"),
            word("state"),
            events(projection),
            duration(seconds),
            projection["settled_position"].to_string(),
            projection["parked"].to_string(),
            projection["held_aggregates"].to_string(),
        ));
    }
    text
}

/// How many are unsettled; at most so many, while a long backlog has not been looked through.
fn events(projection: &Value) -> String {
    let at_most = if projection["lag_at_most"] == true { "<=" } else { "" };
    format!("{at_most}{}", projection["lag_events"])
}

/// A line about whoever holds a snapshot for so long that updates become slower.
fn open_snapshot(oldest: &Value) -> Option<String> {
    let seconds = oldest["seconds"].as_f64().filter(|seconds| *seconds >= 900.0)?;
    let who = format!("{} {:?}", oldest["kind"].as_str()?, oldest["name"].as_str()?);
    let pid = oldest["pid"].as_i64().map_or(String::new(), |pid| format!(", pid {pid}"));
    Some(format!("a snapshot has been open for {}: {who}{pid}; see the runbook OldSnapshotOpen\n", duration(seconds)))
}

/// Seconds as people say them.
fn duration(seconds: f64) -> String {
    match seconds {
        ..10.0 => format!("{seconds:.1} s"),
        ..120.0 => format!("{seconds:.0} s"),
        ..7200.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_as_people_say_them() {
        for (seconds, said) in [(0.0, "0.0 s"), (45.2, "45 s"), (600.0, "10 min"), (10_000.0, "2.8 h")] {
            assert_eq!(duration(seconds), said);
        }
    }

    #[test]
    fn a_table_has_a_line_for_each_projection() {
        let report = serde_json::json!({
            "store": {"head_position": 7, "oldest_snapshot": {"seconds": 1200.0, "kind": "session", "pid": 42, "name": "psql"}},
            "projections": [{"name": "orders", "topic": "order-events", "state": "running",
                "lag_events": 2, "lag_seconds": 1.5, "settled_position": 5, "parked": 0, "held_aggregates": 0}],
        });
        let table = table(&report);
        assert!(table.contains("store head 7"));
        assert!(table.contains(r#"open for 20 min: session "psql", pid 42"#), "{table}");
        assert!(table.lines().any(|line| line.starts_with("orders ") && line.contains("1.5 s")));
    }
}
