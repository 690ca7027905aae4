//! What several commands say, in the same words.

use uuid::Uuid;
use workers::lag::{Stage, State, Status, Trend, Unit};
use workers::operations::{Operation, State as OperationState};
use workers::pause::Pause;
pub use workers::words::{duration, many};

/// Events by which nothing becomes better or worse; nor does it by a twentieth.
const FEW: i64 = 10;

/// How much an operation has gone through of what it was asked for, where that is counted: what builds or compares a generation has its
/// progress there.
pub fn counted(operation: &Operation) -> Option<String> {
    let Operation { kind, seen, selected, .. } = operation;
    matches!(kind.as_str(), "repair" | "retry" | "discard").then(|| format!("{seen} of {selected}"))
}

/// How much of what was in the store when it began what builds or compares a generation has gone through.
pub fn percent(operation: &Operation) -> Option<i64> {
    let Operation { kind, state, position, last_position, .. } = operation;
    let of_a_generation = matches!(kind.as_str(), "rebuild" | "as_of" | "verify") && *state == OperationState::Running;
    let (position, last) = position.zip(last_position.filter(|last| *last > 0)).filter(|_| of_a_generation)?;
    Some((position.clamp(0, last) as f64 / last as f64 * 100.0) as i64)
}

/// What it waits for, if it waits for somebody; else as its trend says.
pub fn done_when(status: &Status, done: String) -> String {
    match status.state {
        State::Outdated => "it waits for you: see the runbook".to_owned(),
        State::Paused => match status.paused.as_ref().and_then(|pause| pause.until) {
            Some(until) => format!("it waits until {}, or until it is resumed", until.format("%F %T UTC")),
            None => "it waits until it is resumed".to_owned(),
        },
        State::Stopped => "it waits for a worker".to_owned(),
        State::Blocked => "it waits for the lock: see who is in its way".to_owned(),
        State::Failing => "it waits until what fails is mended".to_owned(),
        // Once the sweep takes its events, the lag stays near what the sweep waits for them, which no trend can tell.
        State::Running if status.stage == Some(Stage::Relay) => {
            "when the relay publishes again; until then the sweep takes events after its grace".to_owned()
        }
        State::Running => done,
    }
}

/// Better or worse, and done when.
pub fn trend(trend: &Trend) -> (String, String) {
    let unit = match trend.counted {
        Unit::Events => "events",
        Unit::Positions => "positions",
    };
    let (before, now, seconds) = (trend.before, trend.now, trend.seconds);
    // A few more or fewer are what comes and goes.
    let little = FEW.max(before / 20);
    let few = before != now && (before - now).abs() < little && now > 0;
    let direction = if few { "about the same" } else { trend.direction.as_str() };
    let direction = format!("{direction}: from {before} to {now} {unit} in {seconds:.1} s");
    let done = match trend.done_in_seconds {
        _ if few => "cannot be said, it has hardly changed".to_owned(),
        Some(seconds) => format!("in about {}, if it goes on like this", duration(seconds)),
        None => "never, if it goes on like this".to_owned(),
    };
    (direction, done)
}

/// An id, as it is typed.
///
/// # Errors
/// It is none.
pub fn id(text: &str) -> Result<Uuid, String> {
    Uuid::try_parse(text)
        .map_err(|_| "must be an id such as 01972c3e-5d4f-7a10-9c1b-2f6f1f0a7b11, as lists have it".to_owned())
}

/// A stop of all operations: who, since when, why, and what ends it.
pub fn stop(stop: &Pause) -> String {
    stop.of_operations()
}

/// A session's name.
pub fn called(name: &str) -> &str {
    if name.is_empty() { "without a name" } else { name }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn how_far_a_rebuild_is_is_said_while_it_runs() {
        let of = |kind: &str, state: &str, position: i64| {
            let operation = json!({
                "id": "0195b2c0-0000-7000-8000-000000000001", "kind": kind, "projection": "orders", "state": state,
                "selection": {}, "reason": "", "actor": "", "position": position, "last_position": 800, "selected": 0, "seen": 0,
                "applied": 0, "parked": 0, "error": null, "created_at": "2026-01-01T00:00:00Z", "started_at": null,
                "heartbeat_at": null, "finished_at": null,
            });
            percent(&serde_json::from_value(operation).expect("an operation"))
        };
        assert_eq!(of("rebuild", "running", 199), Some(24));
        assert_eq!(of("rebuild", "running", 900), Some(100), "it follows a store that goes on");
        assert_eq!(of("rebuild", "waiting", 800), None);
        assert_eq!(of("repair", "running", 199), None, "its events are counted");
    }
}
