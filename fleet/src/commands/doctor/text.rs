//! The answers for somebody who is tired: one line each, and more only where something is wrong.

use std::fmt::Write;

use chrono::{DateTime, TimeDelta, Utc};
use workers::doctor::{Changes, Compared, Diagnosis, Lateness, Relays, Symptom};
use workers::lag::{self, Failure, Status};
use workers::locks::Busy;
use workers::losses::{Counted, Example};
use workers::operations::{Operation, State};

use super::Said;
use crate::called;
use crate::commands::words::{counted, done_when, duration, many, trend};

/// Changes that are shown at most, of each kind.
const SHOWN: usize = 5;

/// Seconds within which what was appended is on its way to the bus.
const ON_THE_WAY: f64 = 5.0;

/// Where the questions end and the answers begin.
const ANSWERS: usize = 18;

/// What was asked for is done by then, if somebody is there to do it.
const SOON: TimeDelta = TimeDelta::seconds(10);

pub(super) fn text(said: &Said) -> String {
    let mut text = String::new();
    if let Some(diagnosis) = &said.diagnosis {
        answers(&mut text, diagnosis, &said.losses);
    }
    for unknown in &said.unknown {
        line(&mut text, "Not found out", &format!("{}: {}", unknown.what, unknown.problem));
    }
    text.push('\n');
    if said.healthy {
        let paused = said.diagnosis.iter().flat_map(|it| &it.lateness).flat_map(|lateness| &lateness.projections);
        let mut paused: Vec<_> = paused.filter(|it| it.status.paused.is_some()).map(|it| &*it.status.name).collect();
        paused.dedup();
        let program = called::program();
        let _ = if paused.is_empty() {
            writeln!(text, "Healthy.")
        } else {
            writeln!(text, "Healthy, but paused: {}. See {program} runbook ProjectionPaused", paused.join(", "))
        };
        return text;
    }
    for symptom in &said.symptoms {
        let _ = writeln!(text, "{}.", symptom.what);
    }
    match &said.runbook {
        Some(runbook) => {
            let program = called::program();
            let _ = writeln!(text, "\nUnhealthy. What to do: {program} runbook {runbook}");
            // In the order of the symptoms, which is that of their weight.
            let mut named = vec![runbook];
            for Symptom { runbook, .. } in &said.symptoms {
                if !named.contains(&runbook) {
                    named.push(runbook);
                    let _ = writeln!(text, "               then: {program} runbook {runbook}");
                }
            }
        }
        None => text.push_str("Not known to be healthy: see what was not found out.\n"),
    }
    text
}

fn answers(text: &mut String, diagnosis: &Diagnosis, losses: &[Counted]) {
    match &diagnosis.lateness {
        Some(lateness) => of_lateness(text, lateness, diagnosis.late_after_seconds),
        None => line(text, "Is data late?", "not known"),
    }
    for it in diagnosis.lateness.iter().flat_map(|lateness| &lateness.projections) {
        let Status { name, topic, state, swept_at, lag_events, .. } = &it.status;
        if *state == lag::State::Stopped && !it.late {
            let since = swept_at.map_or("at any time".to_owned(), |at| format!("since {}", at.format("%F %T UTC")));
            line(text, "Who works?", &format!("nobody on {name} for {topic} {since}; {} there", waiting(*lag_events)));
        }
    }
    let mut paused = Vec::new();
    for it in diagnosis.lateness.iter().flat_map(|lateness| &lateness.projections) {
        if let Some(pause) = it.status.paused.as_ref().filter(|_| !paused.contains(&&it.status.name)) {
            paused.push(&it.status.name);
            line(text, "What is paused?", &format!("{} is paused {pause}", it.status.name));
        }
    }
    if let Some(relays) = &diagnosis.relays {
        line(text, "Is all published?", &published(relays));
    }
    for Busy { name, sessions, seconds } in diagnosis.busy.iter().flatten() {
        let (name, sessions) = (if name.is_empty() { "without a name" } else { name }, many(*sessions, "session"));
        let busy = format!("{name}: {sessions}, at one statement for up to {}; see DatabaseBusy", duration(*seconds));
        line(text, "Who else is busy?", &busy);
    }
    match &diagnosis.changes {
        Some(changes) => of_changes(text, changes),
        None => line(text, "What changed?", "not known"),
    }
    of_losses(text, losses);
    if let Some(changes) = &diagnosis.changes {
        line(text, "Are rows right?", &compared(&changes.compared));
    }
    if let Some(lateness) = &diagnosis.lateness {
        let parked: Vec<_> = lateness.projections.iter().filter(|it| it.status.parked > 0).collect();
        for it in &parked {
            let (status, oldest) = (&it.status, duration(it.status.parked_oldest_seconds));
            let parked =
                format!("{} on {}: {} parked, the oldest for {oldest}", status.name, status.topic, status.parked);
            line(text, "Waits for you?", &format!("yes, {parked}; {} held", many(status.held_aggregates, "aggregate")));
        }
        let operations = || diagnosis.changes.iter().flat_map(|changes| &changes.operations);
        let paused: Vec<_> = operations().filter(|operation| operation.state == State::Paused).collect();
        for Operation { kind, projection, id, .. } in &paused {
            let of = projection.as_deref().unwrap_or_default();
            let paused = format!("yes, a {kind} of {of} is paused: fleet operations resume {id}, or cancel it");
            line(text, "Waits for you?", &paused);
        }
        let begun = |it: &&Operation| it.state == State::Pending && matches!(&*it.kind, "promote" | "rollback");
        let undone: Vec<_> =
            operations().filter(begun).filter(|it| lateness.observed_at - it.created_at > SOON).collect();
        for Operation { kind, projection, id, .. } in &undone {
            let of = projection.as_deref().unwrap_or_default();
            let undone = format!(
                "yes, a {kind} of {of} is not done yet, which a program with that version of its code does: start it, or fleet operations \
                 cancel {id}"
            );
            line(text, "Waits for you?", &undone);
        }
        let built: Vec<_> = operations().filter(|operation| operation.state == State::Waiting).collect();
        for Operation { id, projection, .. } in &built {
            let name = projection.as_deref().unwrap_or_default();
            let ready = diagnosis.changes.iter().flat_map(|changes| &changes.ready).find(|it| it.operation == *id);
            let built = match ready.filter(|it| !it.refusals.is_empty()) {
                Some(ready) => format!(
                    "yes, a rebuild of {name} is ready and cannot be promoted: {}; or fleet operations cancel {id}",
                    ready.refusals.join("; ")
                ),
                None => {
                    format!("yes, a rebuild of {name} is ready: fleet promote {name}, or fleet operations cancel {id}")
                }
            };
            line(text, "Waits for you?", &built);
        }
        if !lateness.unmeasured.is_empty() {
            line(text, "Waits for you?", &format!("not known of {}", lateness.unmeasured()));
        } else if parked.is_empty() && built.is_empty() && paused.is_empty() && undone.is_empty() {
            let nothing = "no: nothing is parked, and no rebuild waits to be promoted";
            line(text, "Waits for you?", &format!("{nothing}{}", at(lateness.observed_at)));
        }
    }
}

/// Late, which stage, since when, better or worse, done when.
fn of_lateness(text: &mut String, lateness: &Lateness, late_after: f64) {
    let late: Vec<_> = lateness.projections.iter().filter(|it| it.late).collect();
    if !lateness.unmeasured.is_empty() {
        line(text, "Is data late?", &format!("not known of {}{}", lateness.unmeasured(), at(lateness.observed_at)));
    }
    if late.is_empty() && !lateness.projections.is_empty() {
        let oldest = lateness.projections.iter().map(|it| it.status.lag_seconds).fold(0.0, f64::max);
        let (oldest, limit, at) = (duration(oldest), duration(late_after), at(lateness.observed_at));
        line(text, "Is data late?", &format!("no: the oldest unsettled event is {oldest} old, {limit} is late{at}"));
    }
    for it in late {
        let (status, at) = (&it.status, at(lateness.observed_at));
        let at_most = if status.lag_at_most { "at most " } else { "" };
        let (lag, events) = (duration(status.lag_seconds), status.lag_events);
        line(
            text,
            "Is data late?",
            &format!(
                "YES: {} on {} by {at_most}{lag}, {at_most}{}{at}",
                status.name,
                status.topic,
                many(events, "event")
            ),
        );
        if let Some(stage) = status.stage {
            line(text, "  Which stage?", &format!("{}: {}", stage.as_str(), stage.says()));
        }
        if let Some(blocked) = &status.blocked {
            line(text, "  Who is in its way?", &blocked.in_the_way());
        }
        if let Some(Failure { error, since }) = &status.failure {
            line(text, "  What fails?", &format!("{error}, since {}", since.format("%F %T UTC")));
        }
        if let Some(since) = status.since {
            line(text, "  Since when?", &since.format("%F %T UTC, when its oldest event was appended").to_string());
        }
        let (direction, done) = status.trend.as_ref().map_or(("not known".to_owned(), "not known".to_owned()), trend);
        line(text, "  Better or worse?", &direction);
        line(text, "  Done when?", &done_when(status, done));
    }
}

fn waiting(events: i64) -> String {
    match events {
        0 => "nothing waits".to_owned(),
        1 => "1 event waits".to_owned(),
        _ => format!("{events} events wait"),
    }
}

fn published(relays: &Relays) -> String {
    let late = |seconds: f64| {
        if seconds >= 1.0 { format!(", its oldest event has waited {}", duration(seconds)) } else { String::new() }
    };
    let oldest = relays.topics.iter().map(|it| it.seconds).fold(0.0, f64::max);
    let behind: Vec<_> = relays
        .topics
        .iter()
        .filter(|it| it.seconds >= ON_THE_WAY || !it.led)
        .map(|it| format!("{}{}{}", it.topic, if it.led { " waits" } else { " has no relay" }, late(it.seconds)))
        .collect();
    if behind.is_empty() {
        let but = if oldest > 0.0 { ", but for what was appended a moment ago" } else { "" };
        return format!("yes{but}{}", at(relays.observed_at));
    }
    format!("no: {}{}", behind.join("; "), at(relays.observed_at))
}

fn of_changes(text: &mut String, changes: &Changes) {
    if changes.operations.is_empty() && changes.audit.is_empty() {
        line(
            text,
            "What changed?",
            &format!(
                "nobody asked the fleet for a change in 24 h{}; restarts and SQL are not recorded",
                at(changes.observed_at)
            ),
        );
    }
    // Whoever has only looked has changed nothing.
    let changed: Vec<_> = changes.audit.iter().filter(|entry| !entry.action.ends_with(".reveal")).collect();
    for entry in changed.iter().take(SHOWN) {
        let (actor, reason) = (or(&entry.actor, "somebody"), or(&entry.reason, "no reason given"));
        line(text, "What changed?", &format!("{} {} by {actor}: {reason}", entry.at.format("%T"), entry.action));
    }
    for operation in changes.operations.iter().take(SHOWN) {
        let over = matches!(operation.state, State::Succeeded | State::Failed | State::Cancelled);
        line(text, if over { "What ran?" } else { "What runs?" }, &of_operation(operation));
    }
    let more = (changed.len().saturating_sub(SHOWN), changes.operations.len().saturating_sub(SHOWN));
    if more != (0, 0) {
        line(
            text,
            "",
            &format!(
                "and at least {} changes and {} operations more: fleet audit, fleet operations list",
                more.0, more.1
            ),
        );
    }
}

fn of_operation(operation: &Operation) -> String {
    let Operation { id, kind, state, .. } = operation;
    let of = operation.projection.as_ref().map_or(String::new(), |projection| format!(" of {projection}"));
    let error = operation.error.as_ref().map_or(String::new(), |error| format!(": {error}"));
    let counted = counted(operation).map_or(String::new(), |counted| format!(", {counted}"));
    let parked = operation.parked;
    let counted = if parked > 0 { format!("{counted}, {parked} parked (again)") } else { counted };
    let differs = operation.result.as_ref().is_some_and(|result| result.0["equal"] == false);
    let found = if differs { ", and found differences" } else { "" };
    let state = state.as_str();
    let stalled = operation.stalled.as_ref().map_or(String::new(), |it| format!(", stands still: {}", it.reason));
    format!("{} {kind}{of} {state}{found}{counted}{error}{stalled} ({id})", operation.created_at.format("%T"))
}

/// When the rows of each read model were last compared with the store.
fn compared(all: &[Compared]) -> String {
    let (known, never): (Vec<_>, Vec<_>) = all.iter().partition(|it| it.at.is_some());
    let known = known.iter().filter_map(|it| {
        let found = if it.differences > 0 { many(it.differences, "difference") } else { "equal".to_owned() };
        Some(format!("{} at {}: {found}", it.projection, it.at?.format("%F %T UTC")))
    });
    let never: Vec<_> = never.iter().map(|it| &*it.projection).collect();
    let unknown = (!never.is_empty())
        .then(|| format!("not known of {}: fleet verify compares them with the store", never.join(", ")));
    known.chain(unknown).collect::<Vec<_>>().join("; ")
}

fn of_losses(text: &mut String, losses: &[Counted]) {
    let whole = losses.iter().all(Counted::is_whole);
    let events: i64 = losses.iter().map(|it| it.events).sum();
    let sum = |part: fn(&Counted) -> i64| losses.iter().map(part).sum::<i64>();
    let answer = match (whole, events) {
        (_, 0) => "not known: no event was compared".to_owned(),
        (true, _) => format!(
            "no: of {events} settled events {} are applied or skipped ({} of them discarded), {} parked, {} wait behind those",
            sum(|it| it.applied),
            sum(|it| it.discarded),
            sum(|it| it.parked),
            sum(|it| it.waiting)
        ),
        (false, _) => format!(
            "YES: {} of {events}, {} ahead",
            many(sum(|it| it.lost), "event"),
            many(sum(|it| it.ahead), "aggregate")
        ),
    };
    line(text, "Is anything lost?", &answer);
    for it in losses {
        if it.upto == 0 {
            line(text, "", &format!("{} on {}: nothing is settled, nothing was compared", it.projection, it.topic));
            continue;
        }
        let part = if it.next.is_some() { "; --whole compares the rest" } else { ", which is all" };
        let (events, after, upto) = (it.events, it.after, it.upto);
        let compared = format!(
            "{} on {}: {} from {} to {upto} compared{part}",
            it.projection,
            it.topic,
            many(events, "event"),
            after + 1
        );
        line(text, "", &format!("{compared}{}", at(it.observed_at)));
        for example in &it.examples {
            line(text, "", &format!("  {}", of_example(example)));
        }
    }
}

fn of_example(example: &Example) -> String {
    let Example { aggregate_id, applied_version, .. } = example;
    match (&example.event_type, example.event_version, example.position) {
        (Some(event_type), Some(version), Some(position)) => format!(
            "lost: {event_type} at {position}, version {version} of {aggregate_id}, which is applied to {applied_version}"
        ),
        _ => format!("ahead: {aggregate_id} is applied to {applied_version}, which the store does not have"),
    }
}

fn line(text: &mut String, question: &str, answer: &str) {
    let _ = writeln!(text, "{question:<ANSWERS$} {answer}");
}

fn at(time: DateTime<Utc>) -> String {
    format!("  [{}]", time.format("%T"))
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.trim().is_empty() { otherwise } else { text }
}
