//! What whoever waits is told. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Seen, Wanted};
use crate::pause::Pause;

/// How far a read model is, for whoever waits for something in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = WaitAnswer)]
pub struct Answer {
    pub outcome: Outcome,
    pub projection: String,
    /// Of the aggregate that was asked for: it is applied up to this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_version: Option<i32>,
    /// Everything up to here is settled: of the aggregate's topic, or of all topics of the projection.
    pub settled_position: i64,
    /// The dead letter behind which the aggregate waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
    /// Positions of the store between what is settled and what is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind_positions: Option<i64>,
    /// How long these take at the rate of this wait; absent: nothing moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate_seconds: Option<f64>,
    /// What the store lacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    pub waited_seconds: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = WaitOutcome)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Whoever reads now sees it.
    Reached,
    /// The aggregate waits behind a dead letter, for a person.
    Held,
    /// Nothing is applied for now, because a person said so.
    Paused,
    /// Not yet.
    Behind,
    /// The store has no such event.
    Unknown,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Held => "held",
            Self::Paused => "paused",
            Self::Behind => "behind",
            Self::Unknown => "unknown",
        }
    }
}

impl Answer {
    fn of(outcome: Outcome, wanted: &Wanted, seen: &Seen, waited: Duration) -> Self {
        Self {
            applied_version: wanted.event.map(|_| seen.version.0),
            settled_position: seen.settled.0,
            ..Self::bare(outcome, wanted.projection, waited)
        }
    }

    fn bare(outcome: Outcome, projection: &str, waited: Duration) -> Self {
        Self {
            outcome,
            projection: projection.to_owned(),
            applied_version: None,
            settled_position: 0,
            dead_letter: None,
            paused: None,
            behind_positions: None,
            estimate_seconds: None,
            detail: None,
            waited_seconds: waited.as_secs_f64(),
        }
    }

    /// The store has nothing of the kind.
    pub(crate) fn unknown(projection: &str, detail: String) -> Self {
        Self { detail: Some(detail), ..Self::bare(Outcome::Unknown, projection, Duration::ZERO) }
    }
}

/// `None`: there is reason to wait.
pub(super) fn decided(wanted: &Wanted, seen: &Seen, waited: Duration) -> Option<Answer> {
    let of = |outcome| Answer::of(outcome, wanted, seen, waited);
    let reached = match wanted.event {
        Some((_, version)) => seen.version >= version,
        None => seen.settled >= wanted.position,
    };
    if reached {
        Some(of(Outcome::Reached))
    } else if seen.held {
        Some(Answer { dead_letter: seen.letter, ..of(Outcome::Held) })
    } else {
        seen.pause.clone().map(|pause| Answer { paused: Some(pause), ..of(Outcome::Paused) })
    }
}

/// The time has run out: how far it is, and how long it may take at the rate at which it moved meanwhile.
pub(super) fn behind(wanted: &Wanted, first: &Seen, last: &Seen, waited: Duration) -> Answer {
    let left = (wanted.position.0 - last.settled.0).max(0);
    let moved = last.settled.0 - first.settled.0;
    let seconds = (last.at - first.at).as_secs_f64();
    Answer {
        behind_positions: Some(left),
        estimate_seconds: (moved > 0 && seconds > 0.0).then(|| left as f64 * seconds / moved as f64),
        ..Answer::of(Outcome::Behind, wanted, last, waited)
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use events::{AggregateId, Position, Version};
    use tokio::time::Instant;

    use super::*;

    fn wanted(event: Option<i32>) -> Wanted {
        let event = event.map(|version| (AggregateId(Uuid::from_u128(1)), Version(version)));
        Wanted { projection: "orders", topic: None, event, position: Position(100) }
    }

    fn seen(version: i32, settled: i64) -> Seen {
        let (version, settled) = (Version(version), Position(settled));
        Seen { at: Instant::now(), established: true, pause: None, version, held: false, letter: None, settled }
    }

    #[test]
    fn one_aggregate_waits_for_nobody_else_and_a_position_for_all() {
        let outcome = |wanted: &Wanted, seen: &Seen| decided(wanted, seen, Duration::ZERO).map(|it| it.outcome);
        assert_eq!(outcome(&wanted(Some(3)), &seen(3, 0)), Some(Outcome::Reached), "whatever else is not settled");
        assert_eq!(outcome(&wanted(Some(3)), &seen(2, 100)), None);
        assert_eq!(outcome(&wanted(None), &seen(0, 100)), Some(Outcome::Reached));
        assert_eq!(outcome(&wanted(None), &seen(0, 99)), None);

        let pause = Pause { reason: "x".into(), actor: "ada".into(), since: DateTime::UNIX_EPOCH, until: None };
        let letter = Some(Uuid::from_u128(7));
        let held = Seen { held: true, letter, ..seen(2, 100) };
        let answer = decided(&wanted(Some(3)), &held, Duration::ZERO).expect("a person must decide");
        assert_eq!((answer.outcome, answer.dead_letter, answer.applied_version), (Outcome::Held, letter, Some(2)));
        assert_eq!(
            outcome(&wanted(Some(2)), &held),
            Some(Outcome::Reached),
            "what lies before the dead letter is there"
        );
        let paused = Seen { pause: Some(pause), ..seen(2, 0) };
        assert_eq!(outcome(&wanted(Some(3)), &paused), Some(Outcome::Paused));
        assert_eq!(outcome(&wanted(Some(2)), &paused), Some(Outcome::Reached));
    }

    #[test]
    fn the_estimate_is_at_the_rate_of_the_wait_and_there_is_none_where_nothing_moves() {
        let first = seen(0, 20);
        let last = Seen { at: first.at + Duration::from_secs(2), ..seen(0, 40) };
        let answer = behind(&wanted(None), &first, &last, Duration::from_secs(2));
        assert_eq!((answer.behind_positions, answer.estimate_seconds), (Some(60), Some(6.0)));
        let still = Seen { settled: Position(20), ..last };
        assert_eq!(behind(&wanted(None), &first, &still, Duration::ZERO).estimate_seconds, None);
    }
}
