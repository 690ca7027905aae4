//! `fleet status`: how far each projection is.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use workers::lag::{OldSnapshot, Report, State, Status};

use super::out;
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
    let in_place = options.watch && !options.json && io::stdout().is_terminal();
    loop {
        let report: Report = options.api.get("/admin/v1/projections", &()).await?;
        if options.json {
            out::json(&report)?;
        } else {
            // Home, and clear to the end: the table stays in its place.
            out::text(if in_place { "\x1b[H\x1b[J" } else { "" }, &table(&report))?;
        }
        if !options.watch {
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn table(report: &Report) -> String {
    let mut text = format!("store head {}\n", report.store.head_position);
    text.extend(report.store.oldest_snapshot.as_ref().and_then(open_snapshot));
    text.push('\n');
    text.push_str(&format!(
        "{:<18} {:<20} {:<8} {:>10} {:>10} {:>12} {:>7} {:>5}\n",
        "PROJECTION", "TOPIC", "STATE", "LAG EVENTS", "LAG", "SETTLED", "PARKED", "HELD"
    ));
    for projection in &report.projections {
        text.push_str(&format!(
            "{:<18} {:<20} {:<8} {:>10} {:>10} {:>12} {:>7} {:>5}\n",
            projection.name,
            projection.topic,
            projection.state.as_str(),
            events(projection),
            duration(projection.lag_seconds),
            projection.settled_position,
            projection.parked,
            projection.held_aggregates,
        ));
    }
    let mut said = Vec::new();
    for projection in &report.projections {
        if let Some(pause) = projection.paused.as_ref().filter(|_| !said.contains(&&projection.name)) {
            text.push_str(&format!("{} is paused {pause}\n", projection.name));
            said.push(&projection.name);
        }
    }
    if let Some(stop) = &report.operations_stopped {
        text.push_str(&format!("all operations are stopped {stop}\n"));
    }
    let mut said = Vec::new();
    for Status { name, version, code_version, .. } in report.projections.iter().filter(|it| it.state == State::Outdated)
    {
        if !said.contains(&name) {
            text.push_str(&format!(
                "{name} was built by version {version} of its code, this is version {code_version}: see fleet generations {name}\n"
            ));
            said.push(name);
        }
    }
    for unmeasured in &report.unmeasured {
        let on = unmeasured.topic.as_ref().map_or(String::new(), |topic| format!(" on {topic}"));
        text.push_str(&format!("{}{on} could not be measured: {}\n", unmeasured.name, unmeasured.problem));
    }
    text
}

/// How many are unsettled; at most so many, while a long backlog has not been looked through.
fn events(projection: &Status) -> String {
    let at_most = if projection.lag_at_most { "<=" } else { "" };
    format!("{at_most}{}", projection.lag_events)
}

/// A line about whoever holds a snapshot for so long that updates become slower.
fn open_snapshot(oldest: &OldSnapshot) -> Option<String> {
    if oldest.seconds < 900.0 {
        return None;
    }
    let OldSnapshot { seconds, kind, pid, name } = oldest;
    let pid = pid.map_or(String::new(), |pid| format!(", pid {pid}"));
    let since = duration(*seconds);
    Some(format!("a snapshot has been open for {since}: {kind} {name:?}{pid}; see the runbook OldSnapshotOpen\n"))
}

/// Seconds as people say them.
pub(super) fn duration(seconds: f64) -> String {
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
                "lag_events": 2, "lag_seconds": 1.5, "lag_at_most": false, "settled_position": 5,
                "parked": 0, "parked_oldest_seconds": 0.0, "held_aggregates": 0, "processed_event_ids": 0,
                "generation": 1, "version": 1,
                "paused": {"reason": "a new index", "actor": "ada", "since": "2026-01-31T07:00:00Z", "until": null}}],
            "operations_stopped": {"reason": "load", "actor": "bob", "since": "2026-01-31T07:30:00Z", "until": null},
            "unmeasured": [{"name": "payments", "problem": "it takes too long"}],
            "observed_at": "2026-01-31T08:00:00Z",
        });
        let report = serde_json::from_value(report).expect("a report");
        let table = table(&report);
        assert!(table.contains("store head 7"));
        assert!(table.contains(r#"open for 20 min: session "psql", pid 42"#), "{table}");
        assert!(table.lines().any(|line| line.starts_with("orders ") && line.contains("1.5 s")));
        assert!(
            table.contains("\norders is paused by ada since 2026-01-31T07:00:00Z until it is resumed: a new index\n")
        );
        assert!(table.contains("\nall operations are stopped by bob since 2026-01-31T07:30:00Z until"), "{table}");
        assert!(table.ends_with("payments could not be measured: it takes too long\n"), "{table}");
    }
}
