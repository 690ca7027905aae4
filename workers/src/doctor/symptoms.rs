//! What is wrong, and which runbook to open. Pure.

use std::collections::BTreeMap;

use event_store::relay::behind::Behind;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{Diagnosis, Differing, FailingRebuild, LATE, Lateness, ProjectionLateness, Ready};
use crate::lag::{Direction, Stage, State, Status, Trend};
use crate::losses::Counted;
use crate::operations::{self, Operation};
use crate::words::many;

/// Aggregates that are held, above which it is the code or the database that is to blame, and no single event. The alert
/// `AggregatesHeld` has the same.
const MANY: i64 = 100;

/// Seconds after which what is parked counts as forgotten. The alert `ParkedEventsOld` waits as long.
const OLD: f64 = 86_400.0;

/// Seconds that an event may wait for the relay: the lease of a dead one ends after 10.
const UNPUBLISHED: f64 = 30.0;

/// Seconds that an event may wait for a worker that sleeps until there is work.
const UNKEPT: f64 = 5.0;

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Symptom {
    /// In a sentence.
    pub what: String,
    /// A file of `docs/runbooks`, without its ending.
    pub runbook: String,
}

impl Symptom {
    pub fn new(runbook: &str, what: impl Into<String>) -> Self {
        Self { what: what.into(), runbook: runbook.to_owned() }
    }
}

/// What is late first, then what is parked, then what does no harm to the read models, and what somebody may have forgotten.
pub(super) fn of(diagnosis: &Diagnosis) -> Vec<Symptom> {
    let projections = || diagnosis.lateness.iter().flat_map(|lateness| &lateness.projections);
    let mut symptoms: Vec<_> = projections().filter_map(late).collect();
    // A projection of two topics was built by one version.
    let operations = || diagnosis.changes.iter().flat_map(|changes| &changes.operations);
    let ready: Vec<_> = diagnosis.changes.iter().flat_map(|changes| &changes.ready).collect();
    let failing: Vec<_> = diagnosis.changes.iter().flat_map(|changes| &changes.failing).collect();
    let outdated = projections().filter_map(|projection| outdated(projection, operations(), (&ready, &failing)));
    symptoms.extend(outdated.collect::<BTreeMap<_, _>>().into_values());
    symptoms.sort_by_key(|symptom| symptom.runbook != "ProjectionStalled");
    symptoms.extend(unmeasured(diagnosis));
    symptoms.extend(diagnosis.in_the_way.as_ref().map(|wait| {
        let runbook = if diagnosis.relays.is_none() { "RelayLeadership" } else { "LagTelemetryStale" };
        let what = format!("not all could be found out: {}; see `fleet locks`", wait.held_up());
        Symptom::new(runbook, what)
    }));
    let differing = diagnosis.changes.iter().flat_map(|changes| &changes.differing);
    let differs = differing.map(|Differing { projection, differences }| {
        let what =
            format!("the last verification of {projection} found {} in what is read", many(*differences, "difference"));
        Symptom::new("ReadModelDiffers", what)
    });
    symptoms.splice(0..0, differs);
    let relays = || diagnosis.relays.iter().flat_map(|relays| &relays.topics);
    for behind in relays().filter(|it| it.seconds > UNPUBLISHED && it.led) {
        let what = format!("the relay of {} leads and does not publish", behind.topic);
        symptoms.push(Symptom::new("RelayFailing", what));
    }
    let unled = |which: &dyn Fn(&&Behind) -> bool| {
        let topics: Vec<_> = relays().filter(|it| !it.led).filter(which).map(|it| &*it.topic).collect();
        (!topics.is_empty()).then(|| topics.join(", "))
    };
    // Of a store that is dead nothing waits to be published, because nothing can be appended.
    if let Some(topics) = unled(&|it| it.lapsed) {
        let what = format!(
            "the relay of {topics} is dead, hangs, or waits for a lock (see `fleet locks`): if no other takes over within 10 s, perhaps no \
             event store runs, and every append fails"
        );
        symptoms.push(Symptom::new("RelayLeadership", what));
    }
    if let Some(topics) = unled(&|it| !it.lapsed && it.seconds > UNPUBLISHED) {
        symptoms.push(Symptom::new("RelayLeadership", format!("no relay publishes {topics}")));
    }
    symptoms.extend(projections().filter_map(parked));
    if let Some(set_aside) = &diagnosis.set_aside {
        let (refused, unreadable) = (set_aside.refused_messages, set_aside.unreadable_events);
        if unreadable > 0 {
            let what = format!("{unreadable} events were found lately that no reader can be given");
            symptoms.push(Symptom::new("EventsUnreadable", what));
        }
        if refused > 0 {
            symptoms.push(Symptom::new(
                "RelayMessagesRefused",
                format!("the bus refused {refused} messages for good lately"),
            ));
        }
    }
    symptoms.extend(operations().filter_map(stalled));
    let diverging = diagnosis.changes.iter().flat_map(|changes| &changes.diverging);
    symptoms.extend(diverging.map(|name| {
        Symptom::new("RebuildDoesNotConverge", format!("the rebuild of {name} is slower than the store grows"))
    }));
    if let Some(lateness) = &diagnosis.lateness {
        if let Some(stop) = &lateness.operations_stopped {
            let stop = stop.of_operations();
            symptoms.push(Symptom::new("OperationsStopped", format!("all operations are stopped {stop}")));
        }
        let mut forgotten: Vec<_> = lateness.projections.iter().filter_map(|it| paused(it, lateness)).collect();
        // One that listens to two topics is paused once.
        forgotten.dedup();
        symptoms.append(&mut forgotten);
    }
    symptoms
}

/// That nothing is known to be late is no good news then.
fn unmeasured(diagnosis: &Diagnosis) -> Option<Symptom> {
    let what = match &diagnosis.lateness {
        None => {
            let why = diagnosis.unknown.iter().find(|it| it.what == LATE).map_or("", |it| &it.problem);
            format!("how late data is could not be measured: {why}")
        }
        Some(lateness) => {
            let first = lateness.unmeasured.first()?;
            format!("how late {} is could not be measured: {}", lateness.unmeasured(), first.problem)
        }
    };
    Some(Symptom::new("LagTelemetryStale", what))
}

fn stalled(operation: &Operation) -> Option<Symptom> {
    let stalled = operation.stalled.as_ref()?;
    let Operation { id, kind, projection, .. } = operation;
    let of = projection.as_ref().map_or(String::new(), |projection| format!(" of {projection}"));
    let since = stalled.since.format("%FT%TZ");
    Some(Symptom::new(
        "OperationStalled",
        format!("{kind}{of}, operation {id}, stands still since {since}: {}", stalled.reason),
    ))
}

fn paused(projection: &ProjectionLateness, lateness: &Lateness) -> Option<Symptom> {
    let pause = projection.status.paused.as_ref()?;
    let old = (lateness.observed_at - pause.since).as_seconds_f64() > OLD;
    old.then(|| Symptom::new("ProjectionPaused", format!("{} is paused {pause}", projection.status.name)))
}

fn late(projection: &ProjectionLateness) -> Option<Symptom> {
    let Status { name, topic, state, lag_events, lag_seconds, .. } = &projection.status;
    if *state == State::Stopped && !projection.late && *lag_seconds > UNKEPT {
        let events = many(*lag_events, "event");
        let what = format!("no worker of {name} is at work on {topic}, with {events} to apply: soon that is late");
        return Some(Symptom::new("ProjectionStalled", what));
    }
    if let Some(failure) = projection.status.failure.as_ref().filter(|_| *state == State::Failing && !projection.late) {
        let what = format!("{name} fails on {topic}: {}", failure.error);
        return Some(Symptom::new("ProjectionStalled", what));
    }
    if let Some(wait) = projection.status.blocked.as_ref().filter(|_| *state == State::Blocked && !projection.late) {
        let held = wait.in_the_way();
        let what =
            format!("{name} waits on {topic} for a lock in the database, {held}: see `fleet locks`; soon that is late");
        return Some(Symptom::new("ProjectionStalled", what));
    }
    let stage = projection.status.stage.filter(|_| projection.late)?;
    let runbook = match stage {
        Stage::Paused => "ProjectionPaused",
        Stage::Version | Stage::Worker | Stage::Lock => "ProjectionStalled",
        Stage::Relay | Stage::Bus | Stage::Unknown => "FreshnessBurnFast",
        // Whether anything gets through at all.
        Stage::Apply => {
            let stands = |trend: &Trend| trend.direction != Direction::Better;
            if projection.status.trend.as_ref().is_some_and(stands) { "ProjectionStalled" } else { "FreshnessBurnFast" }
        }
    };
    let held = projection.status.blocked.as_ref().filter(|_| stage == Stage::Lock);
    let held = held.map_or(String::new(), |wait| format!(", {}", wait.in_the_way()));
    Some(Symptom::new(runbook, format!("{name} is late on {topic}: {}{held}", stage.says())))
}

/// Whatever its lag is: the code that built it may go on, and must not be forgotten.
fn outdated<'a>(
    projection: &'a ProjectionLateness,
    operations: impl Iterator<Item = &'a Operation>,
    (ready, failing): (&[&Ready], &[&FailingRebuild]),
) -> Option<(&'a str, Symptom)> {
    let Status { name, state, version, code_version, .. } = &projection.status;
    if *state != State::Outdated {
        return None;
    }
    let built = format!("{name} was built by version {version} of its code, and this is version {code_version}");
    let symptom = if version < code_version {
        // The newest first.
        let rebuilds = operations.filter(|it| it.kind == "rebuild" && it.projection.as_ref() == Some(name));
        let of_this =
            |it: &&Operation| it.selection.get("version").and_then(Value::as_i64) == Some(i64::from(*code_version));
        let (ours, others): (Vec<_>, Vec<_>) = rebuilds.partition(of_this);
        let refused =
            ours.first().and_then(|ours| ready.iter().find(|it| it.operation == ours.id && !it.refusals.is_empty()));
        let waits = match (others.iter().find(|it| it.finished_at.is_none()), ours.first()) {
            (Some(other), _) => {
                format!("a rebuild of another version is in its way, operation {}: promote or cancel it", other.id)
            }
            (None, Some(Operation { state: operations::State::Failed, error: Some(error), .. })) => {
                format!("building it anew has failed: {error}")
            }
            (None, Some(Operation { id, .. })) if failing.iter().any(|it| it.operation == *id) => {
                let error = failing.iter().find(|it| it.operation == *id).map_or("", |it| &it.error);
                format!("building it anew fails, and is tried until it succeeds: {error}")
            }
            _ => match refused {
                Some(Ready { generation, refusals, .. }) => {
                    format!(
                        "it was built anew as generation {generation}, which cannot be promoted: {}",
                        refusals.join("; ")
                    )
                }
                None => "it waits to be built anew and promoted".to_owned(),
            },
        };
        Symptom::new("ProjectionOutdated", format!("{built}: {waits}"))
    } else {
        Symptom::new("ProjectionStalled", format!("{built}, which does not write to it"))
    };
    Some((name, symptom))
}

fn parked(projection: &ProjectionLateness) -> Option<Symptom> {
    let status = &projection.status;
    if status.parked == 0 {
        return None;
    }
    let runbook = if status.held_aggregates > MANY {
        "AggregatesHeld"
    } else if status.parked_oldest_seconds > OLD {
        "ParkedEventsOld"
    } else {
        "ParkedEvents"
    };
    Some(Symptom::new(
        runbook,
        format!(
            "{} has {} parked of {}, which hold {} of its aggregates",
            status.name, status.parked, status.topic, status.held_aggregates
        ),
    ))
}

/// What the counting has found to be lost. It goes before everything else.
pub fn of_losses(counted: &[Counted]) -> Vec<Symptom> {
    let mut symptoms = Vec::new();
    for it in counted {
        let (name, topic) = (&it.projection, &it.topic);
        if it.lost > 0 {
            let what =
                format!("{name} has lost {} events of {topic}: settled, and neither applied nor parked", it.lost);
            symptoms.push(Symptom::new("EventsLost", what));
        }
        if it.ahead > 0 {
            let what = format!("{name} has applied more of {} aggregates of {topic} than the store has", it.ahead);
            symptoms.push(Symptom::new("EventsLost", what));
        }
    }
    symptoms
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::super::{Lateness, Relays};
    use super::*;
    use crate::lag::Unit;
    use crate::locks::Wait;

    fn projection(stage: Option<Stage>, late: bool, direction: Direction, parked: i64) -> ProjectionLateness {
        let trend = Trend { seconds: 1.0, counted: Unit::Events, before: 1, now: 1, direction, done_in_seconds: None };
        let status = Status {
            lag_events: stage.is_some().into(),
            parked,
            parked_oldest_seconds: 100_000.0 * f64::from(u8::from(parked > 5)),
            held_aggregates: parked,
            stage,
            trend: Some(trend),
            ..Status::idle()
        };
        ProjectionLateness { status, late }
    }

    fn runbooks(projections: Vec<ProjectionLateness>, unpublished: f64, led: bool) -> Vec<String> {
        let observed_at = DateTime::UNIX_EPOCH;
        let topic = "order-events".to_owned();
        let diagnosis = Diagnosis {
            in_the_way: None,
            late_after_seconds: 30.0,
            lateness: Some(Lateness {
                observed_at,
                head_position: 9,
                operations_stopped: None,
                projections,
                unmeasured: Vec::new(),
            }),
            relays: Some(Relays {
                observed_at,
                topics: vec![Behind {
                    topic,
                    position: 1,
                    led,
                    lapsed: !led && unpublished == 0.0,
                    seconds: unpublished,
                    events: 1,
                    unknown: false,
                }],
            }),
            changes: None,
            set_aside: None,
            busy: None,
            unknown: Vec::new(),
            symptoms: Vec::new(),
        };
        of(&diagnosis).into_iter().map(|symptom| symptom.runbook).collect()
    }

    #[test]
    fn each_finding_ends_in_its_runbook_and_what_stands_still_comes_first() {
        use Direction::{Better, Same};
        let none = Vec::<String>::new();
        assert_eq!(runbooks(vec![projection(None, false, Same, 0)], 0.0, true), none);
        assert_eq!(runbooks(vec![projection(Some(Stage::Bus), false, Same, 0)], 0.0, true), none);
        assert_eq!(runbooks(Vec::new(), 0.0, false), ["RelayLeadership"], "a dead store has nothing to publish");
        let outdated = |late, version| {
            let mut projection = projection(Some(Stage::Version), late, Same, 0);
            (projection.status.state, projection.status.version) = (State::Outdated, version);
            runbooks(vec![projection.clone(), projection], 0.0, true)
        };
        assert_eq!(outdated(false, 0), ["ProjectionOutdated"]);
        assert_eq!(outdated(true, 0), ["ProjectionStalled", "ProjectionStalled", "ProjectionOutdated"]);
        assert_eq!(outdated(false, 2), ["ProjectionStalled"]);
        let mut behind = projection(None, false, Same, 0);
        (behind.status.state, behind.status.version) = (State::Outdated, 0);
        let rebuild = |version: i64| -> Operation {
            serde_json::from_value(serde_json::json!({
                "id": "0195b2c0-0000-7000-8000-000000000001", "kind": "rebuild", "projection": behind.status.name, "state": "waiting",
                "selection": {"version": version}, "reason": "", "actor": "", "selected": 0, "seen": 0, "applied": 0, "parked": 0,
                "error": null, "created_at": "2026-01-01T00:00:00Z", "started_at": null, "heartbeat_at": null, "finished_at": null,
            }))
            .expect("an operation")
        };
        let says = |version| {
            super::outdated(&behind, [rebuild(version)].iter(), (&[], &[]))
                .map(|(_, symptom)| symptom.what)
                .unwrap_or_default()
        };
        let ours = i64::from(behind.status.code_version);
        let ready = Ready {
            projection: behind.status.name.clone(),
            generation: 2,
            operation: rebuild(ours).id,
            refusals: vec!["1 event parked in it".to_owned()],
        };
        let failing = FailingRebuild {
            projection: ready.projection.clone(),
            operation: ready.operation,
            error: "no column pln".to_owned(),
        };
        let (_, fails) = super::outdated(&behind, [rebuild(ours)].iter(), (&[], &[&failing])).expect("it is outdated");
        assert!(
            fails.what.ends_with("building it anew fails, and is tried until it succeeds: no column pln"),
            "{}",
            fails.what
        );
        let (_, refused) = super::outdated(&behind, [rebuild(ours)].iter(), (&[&ready], &[])).expect("it is outdated");
        assert!(
            refused.what.ends_with("as generation 2, which cannot be promoted: 1 event parked in it"),
            "{}",
            refused.what
        );
        assert!(says(ours).ends_with("it waits to be built anew and promoted"));
        assert!(says(ours - 1).ends_with("000001: promote or cancel it"), "somebody has to decide about that first");
        let failed = |version| {
            let mut failed = rebuild(version);
            (failed.state, failed.finished_at) = (operations::State::Failed, Some(DateTime::UNIX_EPOCH));
            failed.error = Some("no such table".to_owned());
            super::outdated(&behind, [failed].iter(), (&[], &[])).map(|(_, symptom)| symptom.what).unwrap_or_default()
        };
        assert!(failed(ours).ends_with("building it anew has failed: no such table"));
        assert!(failed(ours - 1).ends_with("it waits to be built anew and promoted"), "that was other code");
        let mut gone = projection(Some(Stage::Worker), false, Same, 0);
        (gone.status.state, gone.status.lag_seconds) = (State::Stopped, 6.0);
        assert_eq!(runbooks(vec![gone.clone()], 0.0, true), ["ProjectionStalled"], "before it is late");
        gone.status.lag_seconds = 1.0;
        assert_eq!(runbooks(vec![gone], 0.0, true), none, "it may only have slept");
        let mut waits = projection(Some(Stage::Lock), false, Same, 0);
        waits.status.state = State::Blocked;
        waits.status.blocked = Some(Wait {
            pid: 7,
            name: "fleet".to_owned(),
            seconds: 6.0,
            waits_for: "the table orders.orders".to_owned(),
            schemas: Vec::new(),
            held_by: Vec::new(),
        });
        assert_eq!(runbooks(vec![waits], 0.0, true), ["ProjectionStalled"], "before it is late");
        assert_eq!(runbooks(vec![projection(Some(Stage::Apply), true, Better, 0)], 0.0, true), ["FreshnessBurnFast"]);
        assert_eq!(runbooks(vec![projection(Some(Stage::Apply), true, Same, 0)], 0.0, true), ["ProjectionStalled"]);
        let all = vec![projection(Some(Stage::Relay), true, Same, 9), projection(Some(Stage::Worker), true, Same, 1)];
        let expected = ["ProjectionStalled", "FreshnessBurnFast", "RelayLeadership", "ParkedEventsOld", "ParkedEvents"];
        assert_eq!(runbooks(all.clone(), 40.0, false), expected);
        assert_eq!(runbooks(all, 40.0, true)[2], "RelayFailing");
    }
}
