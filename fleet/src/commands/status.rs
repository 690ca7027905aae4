//! `fleet status`: how far each projection is.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Error, Result};
use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;
use workers::admin::doctor::LATE_AFTER;
use workers::lag::{Failure, OldSnapshot, Report, Stage, State, Status, Unmeasured};

use super::words::{done_when, duration, trend};
use super::{out, words};
use crate::client;
use crate::exit::Exit;

/// From one look to the next.
const EVERY: Duration = Duration::from_secs(1);

/// What was seen longer ago is said to be old.
const OLD: Duration = Duration::from_secs(3);

/// How long a watch waits for an answer before it says that what it shows is not current, and asks again. A fleet that cannot
/// answer says so earlier.
const ANSWERS: Duration = Duration::from_secs(10);

/// An event that has waited for so many seconds is explained.
const WAITS: f64 = 5.0;

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    pub api: client::AdminApi,
    /// As JSON, for programs.
    #[arg(long)]
    pub json: bool,
    /// Again every second, until Ctrl-C; what is old is said to be, and a fleet that restarts is waited for.
    #[arg(long)]
    pub watch: bool,
}

pub async fn run(options: Options) -> Result<ExitCode> {
    if options.watch {
        return watch(&options).await;
    }
    let report: Report = options.api.get(PROJECTIONS, &()).await?;
    if options.json {
        out::json(&report)?;
    } else {
        out::text("", &format!("fleet at {}\n{}", options.api.at(), text(&report, out::columns())))?;
    }
    let known = !report.projections.is_empty() || report.unmeasured.is_empty();
    Ok(if known { Exit::Good.into() } else { Exit::Unhealthy.into() })
}

const PROJECTIONS: &str = "/admin/v1/projections";

/// What a watch says, as JSON, of a fleet that does not answer.
#[derive(Debug, Serialize)]
struct Unanswered<'a> {
    problem: &'a str,
    /// When what was seen last was observed.
    last_observed_at: Option<DateTime<Utc>>,
}

/// Shows what was seen last and, if that is old, how old it is and why.
///
/// # Errors
/// The fleet refuses to answer: asking again would not help.
async fn watch(options: &Options) -> Result<ExitCode> {
    let in_place = !options.json && io::stdout().is_terminal();
    let mut seen: Option<(Instant, Report)> = None;
    loop {
        let asked = Instant::now();
        let asking = options.api.get::<Report>(PROJECTIONS, &());
        let answered = match tokio::time::timeout(ANSWERS, asking).await {
            Ok(answered) => answered,
            Err(_) => {
                Err(Exit::Unhealthy.because(format!("the fleet has not answered within {} s", ANSWERS.as_secs())))
            }
        };
        let failed = match answered {
            Ok(report) => {
                seen = Some((asked, report));
                None
            }
            Err(error) if matches!(Exit::of(&error), Exit::Unreachable | Exit::Unhealthy | Exit::Failure) => {
                Some(error)
            }
            Err(error) => return Err(error),
        };
        if options.json {
            match (&failed, &seen) {
                (None, Some((_, report))) => out::json(report)?,
                (failed, seen) => out::json(&Unanswered {
                    problem: &failed.as_ref().map_or_else(String::new, Error::to_string),
                    last_observed_at: seen.as_ref().map(|(_, report)| report.observed_at),
                })?,
            }
        } else {
            let shown = seen.as_ref().map(|(at, report)| (at.elapsed(), report));
            // Home, and clear to the end: the table stays in its place.
            let watched = watched(shown, failed.as_ref(), out::columns());
            let watched = format!("fleet at {}\n{watched}", options.api.at());
            out::text(if in_place { "\x1b[H\x1b[J" } else { "" }, &watched)?;
        }
        tokio::time::sleep(EVERY.saturating_sub(asked.elapsed())).await;
    }
}

/// What was seen, so long ago, and why nothing newer was.
fn watched(seen: Option<(Duration, &Report)>, failed: Option<&Error>, columns: Option<usize>) -> String {
    let why = failed.map_or_else(|| "The answer took that long.\n".to_owned(), |error| format!("{error:#}\n"));
    match seen {
        Some((age, report)) if failed.is_some() || age > OLD => {
            let (at, ago) = (report.observed_at.format("%T UTC"), duration(age.as_secs_f64()));
            format!("{}\nNOT CURRENT: this was so at {at}, {ago} ago. {why}", out::dim(&text(report, columns)))
        }
        Some((_, report)) => text(report, columns),
        None => format!("Nothing was seen yet. {why}"),
    }
}

/// All that is known, in a table that fits into so many columns if it can, and a sentence for each thing that is not as it should be.
fn text(report: &Report, columns: Option<usize>) -> String {
    let mut text =
        format!("store head {}, observed at {}\n", report.store.head_position, report.observed_at.format("%T UTC"));
    text.extend(report.store.oldest_snapshot.as_ref().and_then(open_snapshot));
    text.push('\n');
    text.push_str(&table(&report.projections, columns));
    let mut said = Vec::new();
    for status in &report.projections {
        if let Some(pause) = status.paused.as_ref().filter(|_| !said.contains(&&status.name)) {
            text.push_str(&format!("{} is paused {pause}\n", status.name));
            said.push(&status.name);
        }
    }
    if let Some(stop) = &report.operations_stopped {
        text.push_str(&format!("all operations are stopped {}\n", words::stop(stop)));
    }
    if !report.unled.is_empty() {
        text.push_str(&format!(
            "nobody publishes {}: if it lasts longer than 10 s, no event store runs, and appends fail: see fleet doctor\n",
            report.unled.join(", ")
        ));
    }
    let mut said = Vec::new();
    for Status { name, version, code_version, .. } in report.projections.iter().filter(|it| it.state == State::Outdated)
    {
        if !said.contains(&name) {
            text.push_str(&format!(
                "{name} was built by version {version} of its code, this is version {code_version}: fleet doctor says what it waits for\n"
            ));
            said.push(name);
        }
    }
    text.extend(report.projections.iter().filter_map(silent));
    text.extend(report.projections.iter().filter_map(late));
    let mut problems: Vec<(&str, Vec<String>)> = Vec::new();
    for Unmeasured { name, topic, problem } in &report.unmeasured {
        let name = topic.as_ref().map_or(name.clone(), |topic| format!("{name} on {topic}"));
        match problems.iter_mut().find(|(of, _)| of == problem) {
            Some((_, names)) => names.push(name),
            None => problems.push((problem, vec![name])),
        }
    }
    for (problem, names) in problems {
        text.push_str(&format!("{} could not be measured: {problem}\n", names.join(", ")));
    }
    text
}

/// A column: what is above it, and whether it holds numbers. Those that say least go first where there is no room.
const COLUMNS: [(&str, bool); 8] = [
    ("PROJECTION", false),
    ("TOPIC", false),
    ("STATE", false),
    ("BEHIND", true),
    ("LAG", true),
    ("PARKED", true),
    ("HELD", true),
    ("SETTLED", true),
];
const SPARED: [&str; 3] = ["SETTLED", "HELD", "TOPIC"];

fn table(projections: &[Status], columns: Option<usize>) -> String {
    let mut rows = vec![COLUMNS.map(|(name, _)| name.to_owned())];
    rows.extend(projections.iter().map(|status| {
        [
            status.name.clone(),
            status.topic.clone(),
            state(status).to_owned(),
            events(status),
            duration(status.lag_seconds),
            status.parked.to_string(),
            status.held_aggregates.to_string(),
            status.settled_position.to_string(),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let mut shown: Vec<_> = (0..COLUMNS.len()).collect();
    for spared in SPARED {
        let needed: usize = shown.iter().map(|column| width(*column) + 2).sum();
        if columns.is_some_and(|columns| needed > columns + 2) {
            shown.retain(|column| COLUMNS[*column].0 != spared);
        }
    }
    let line = |row: &[String; 8]| {
        let cells = shown.iter().map(|column| {
            let (cell, width) = (&row[*column], width(*column));
            if COLUMNS[*column].1 { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// The state in words that are true.
fn state(status: &Status) -> &'static str {
    match (status.state, status.stage) {
        (State::Running, Some(Stage::Relay | Stage::Bus)) if status.lag_seconds >= WAITS => "waits for bus",
        (State::Stopped, _) => "no worker",
        (State::Outdated, _) => "outdated code",
        (state, _) => state.as_str(),
    }
}

/// Since when nobody looks at it, whom its worker waits for, or what fails.
fn silent(status: &Status) -> Option<String> {
    let Status { name, topic, .. } = status;
    match (status.state, &status.blocked) {
        (State::Stopped, _) => Some(match status.swept_at {
            Some(at) => format!("{name} on {topic}: no worker since {}\n", at.format("%F %T UTC")),
            None => {
                format!(
                    "{name} on {topic}: no worker has looked at it yet; the first does so within seconds of its start\n"
                )
            }
        }),
        (State::Failing, _) => {
            let Failure { error, since } = status.failure.as_ref()?;
            Some(format!("{name} on {topic} has failed since {}: {error}\n", since.format("%F %T UTC")))
        }
        (State::Blocked, Some(wait)) => {
            let (since, holders) = (duration(wait.seconds), wait.in_the_way());
            Some(format!("{name} on {topic} has waited {since} for {}, {holders}\n", wait.waits_for))
        }
        _ => None,
    }
}

/// Since when its oldest event waits, where that is, and whether it gets better.
fn late(status: &Status) -> Option<String> {
    let stage = status.stage.filter(|_| status.lag_seconds >= WAITS)?;
    let how = if status.lag_seconds > LATE_AFTER { "late" } else { "behind" };
    let since = status
        .since
        .map_or_else(String::new, |since| format!(", its oldest event has waited since {}", since.format("%F %T UTC")));
    let (direction, done) =
        status.trend.as_ref().map_or(("not known yet".to_owned(), "not known yet".to_owned()), trend);
    let done = done_when(status, done);
    Some(format!(
        "{} on {} is {how}{since}: {}\n    better or worse: {direction}; done: {done}\n",
        status.name,
        status.topic,
        stage.says()
    ))
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

#[cfg(test)]
mod tests {
    use super::*;

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
        let report: Report = serde_json::from_value(report).expect("a report");
        let table = text(&report, None);
        assert!(table.contains("store head 7, observed at 08:00:00 UTC"), "{table}");
        assert!(table.contains(r#"open for 20 min: session "psql", pid 42"#), "{table}");
        assert!(table.lines().any(|line| line.starts_with("orders ") && line.contains("1.5 s")));
        assert!(
            table.contains("\norders is paused by ada since 2026-01-31T07:00:00Z until it is resumed: a new index\n")
        );
        assert!(
            table.contains(
                "\nall operations are stopped by bob since 2026-01-31T07:30:00Z until `fleet operations go-on`"
            ),
            "{table}"
        );
        assert!(table.ends_with("payments could not be measured: it takes too long\n"), "{table}");
    }

    fn report(of: serde_json::Value) -> Report {
        let mut projection = serde_json::json!({"name": "customer_returns", "topic": "fulfilment-events", "state": "running",
            "lag_events": 10_000, "lag_seconds": 700.0, "lag_at_most": false, "settled_position": 123_456_789,
            "parked": 10_000, "parked_oldest_seconds": 0.0, "held_aggregates": 10_000, "processed_event_ids": 0,
            "generation": 1, "version": 1});
        let (projection_of, more) =
            (projection.as_object_mut().expect("an object"), of.as_object().expect("an object"));
        projection_of.extend(more.clone());
        serde_json::from_value(serde_json::json!({"store": {"head_position": 7}, "projections": [projection],
            "observed_at": "2026-01-31T08:00:00Z"}))
        .expect("a report")
    }

    #[test]
    fn the_table_fits_the_terminal_and_spares_what_says_least() {
        let report = report(serde_json::json!({"state": "outdated"}));
        for (columns, there, spared) in [(120, "SETTLED", "nothing"), (80, "PARKED", "SETTLED"), (60, "STATE", "TOPIC")]
        {
            let table = table(&report.projections, Some(columns));
            assert!(table.lines().all(|line| line.len() <= columns), "{columns}: {table}");
            assert!(table.contains(there) && !table.contains(spared), "{columns}: {table}");
        }
    }

    #[test]
    fn what_is_old_is_said_to_be_and_why() {
        let report = report(serde_json::json!({}));
        let failed = Exit::Unreachable.because("no fleet answers at 127.0.0.1:1");
        let shown = |age, failed| watched(Some((Duration::from_secs(age), &report)), failed, None);
        assert!(!shown(1, None).contains("NOT CURRENT"));
        assert!(shown(34, None).contains("NOT CURRENT: this was so at 08:00:00 UTC, 34 s ago."), "it hangs");
        let shown = shown(1, Some(&failed));
        assert!(
            shown.ends_with("NOT CURRENT: this was so at 08:00:00 UTC, 1.0 s ago. no fleet answers at 127.0.0.1:1\n")
        );
        assert!(shown.contains("customer_returns"), "what was seen last stays");
        assert_eq!(watched(None, Some(&failed), None), "Nothing was seen yet. no fleet answers at 127.0.0.1:1\n");
    }

    #[test]
    fn states_are_true_words_and_what_is_late_is_explained() {
        let said = |of| text(&report(of), None);
        let stopped =
            said(serde_json::json!({"state": "stopped", "swept_at": "2026-01-31T07:00:00Z", "stage": "worker"}));
        assert!(stopped.contains(" no worker "), "{stopped}");
        assert!(stopped.contains("customer_returns on fulfilment-events: no worker since 2026-01-31 07:00:00 UTC\n"));
        let waits =
            said(serde_json::json!({"stage": "relay", "since": "2026-01-31T07:48:20Z", "trend": {"seconds": 60.0,
            "counted": "events", "before": 10, "now": 10_000, "direction": "worse", "done_in_seconds": null}}));
        assert!(waits.contains(" waits for bus "), "{waits}");
        assert!(
            waits.contains(
                "is late, its oldest event has waited since 2026-01-31 07:48:20 UTC: it is not published: `fleet leases` says whether a relay has the topic\n"
            ),
            "{waits}"
        );
        assert!(
            waits
                .contains("worse: from 10 to 10000 events in 60.0 s; done: when the relay publishes again; until then")
        );
        let blocked =
            said(serde_json::json!({"state": "blocked", "blocked": {"pid": 7, "name": "fleet", "seconds": 20.0,
            "waits_for": "the table customer_returns.users", "schemas": [], "held_by": [
                {"pid": 42, "name": "psql", "state": "idle in transaction", "seconds": 30.0}]}}));
        assert!(blocked.contains(
            "has waited 20 s for the table customer_returns.users, held by pid 42 (psql, idle in transaction, in a transaction for 30 s)\n"
        ));
    }
}
