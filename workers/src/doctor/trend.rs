//! Better or worse, and done when: two measurements, and the time between them. Pure.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::lag::Status;

/// What became of what a read model is behind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Trend {
    /// Between the two measurements.
    pub seconds: f64,
    /// Unsettled events; or positions up to the head, as long as a long backlog has not been looked through.
    pub counted: Unit,
    pub before: i64,
    pub now: i64,
    pub direction: Direction,
    /// When nothing is left, if it goes on like this; `null`: never.
    pub done_in_seconds: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Events,
    Positions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Less is left than before.
    Better,
    /// As much as before: nothing got through, or as much as came.
    Same,
    Worse,
}

impl Direction {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Same => "the same",
            Self::Worse => "worse",
        }
    }
}

/// How far one is, and the store, in one measurement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point<'a> {
    pub status: &'a Status,
    pub head: i64,
}

impl Point<'_> {
    fn positions(self) -> i64 {
        (self.head - self.status.settled_position).max(0)
    }
}

impl Trend {
    pub(super) fn of(before: Point<'_>, now: Point<'_>, seconds: f64) -> Self {
        let known = !before.status.lag_at_most && !now.status.lag_at_most;
        let (counted, before, now) = if known {
            (Unit::Events, before.status.lag_events, now.status.lag_events)
        } else {
            (Unit::Positions, before.positions(), now.positions())
        };
        let direction = match now.cmp(&before) {
            std::cmp::Ordering::Less => Direction::Better,
            std::cmp::Ordering::Equal => Direction::Same,
            std::cmp::Ordering::Greater => Direction::Worse,
        };
        let done_in_seconds = if now == 0 {
            Some(0.0)
        } else {
            (direction == Direction::Better).then(|| now as f64 * seconds / (before - now) as f64)
        };
        Self { seconds, counted, before, now, direction, done_in_seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lag::State;

    fn status(lag_events: i64, lag_at_most: bool, settled_position: i64) -> Status {
        Status {
            name: "orders".to_owned(),
            topic: "order-events".to_owned(),
            state: State::Running,
            lag_events,
            lag_seconds: 1.0,
            lag_at_most,
            settled_position,
            parked: 0,
            parked_oldest_seconds: 0.0,
            held_aggregates: 0,
            processed_event_ids: 0,
            generation: 1,
            version: 1,
            code_version: 1,
            paused: None,
        }
    }

    #[test]
    fn what_falls_is_done_when_it_is_nothing_and_what_does_not_is_never_done() {
        let trend = |before: &Status, now: &Status, head| {
            Trend::of(Point { status: before, head }, Point { status: now, head: head + 10 }, 2.0)
        };
        let better = trend(&status(100, false, 0), &status(80, false, 20), 100);
        assert_eq!((better.direction, better.done_in_seconds), (Direction::Better, Some(8.0)));
        let same = trend(&status(100, false, 0), &status(100, false, 0), 100);
        assert_eq!((same.direction, same.done_in_seconds), (Direction::Same, None));
        let worse = trend(&status(100, false, 0), &status(110, false, 0), 100);
        assert_eq!((worse.direction, worse.done_in_seconds), (Direction::Worse, None));
        let done = trend(&status(0, false, 100), &status(0, false, 110), 100);
        assert_eq!((done.direction, done.done_in_seconds), (Direction::Same, Some(0.0)));
        // What was looked at meanwhile says nothing of what got through.
        let long = trend(&status(900_000, true, 1000), &status(500_000, true, 1060), 900_000);
        assert_eq!((long.counted, long.before, long.now), (Unit::Positions, 899_000, 898_950));
    }
}
