//! Better or worse, and done when: two measurements, and the time between them. Pure.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Status;

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
pub(crate) struct Point {
    pub lag_events: i64,
    pub lag_at_most: bool,
    pub settled: i64,
    pub head: i64,
}

impl Point {
    pub fn of(status: &Status, head: i64) -> Self {
        let Status { lag_events, lag_at_most, settled_position: settled, .. } = *status;
        Self { lag_events, lag_at_most, settled, head }
    }

    fn positions(self) -> i64 {
        (self.head - self.settled).max(0)
    }
}

impl Trend {
    pub(crate) fn of(before: Point, now: Point, seconds: f64) -> Self {
        // Whatever was there then is settled by now: what there is now has come since, and will not take longer.
        let through = now.settled >= before.head;
        let known = !before.lag_at_most && !now.lag_at_most;
        let (counted, before, now) = if known {
            (Unit::Events, before.lag_events, now.lag_events)
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
        } else if direction == Direction::Better {
            Some(now as f64 * seconds / (before - now) as f64)
        } else {
            through.then_some(seconds)
        };
        Self { seconds, counted, before, now, direction, done_in_seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(lag_events: i64, lag_at_most: bool, settled: i64, head: i64) -> Point {
        Point { lag_events, lag_at_most, settled, head }
    }

    #[test]
    fn what_falls_is_done_when_it_is_nothing_and_what_does_not_is_never_done() {
        let trend = |before, now| Trend::of(before, now, 2.0);
        let better = trend(point(100, false, 0, 100), point(80, false, 20, 110));
        assert_eq!((better.direction, better.done_in_seconds), (Direction::Better, Some(8.0)));
        let same = trend(point(100, false, 0, 100), point(100, false, 0, 110));
        assert_eq!((same.direction, same.done_in_seconds), (Direction::Same, None));
        let worse = trend(point(100, false, 0, 100), point(110, false, 0, 110));
        assert_eq!((worse.direction, worse.done_in_seconds), (Direction::Worse, None));
        let through = trend(point(5, false, 95, 100), point(5, false, 100, 105));
        assert_eq!(
            (through.direction, through.done_in_seconds),
            (Direction::Same, Some(2.0)),
            "none of them are the same"
        );
        let done = trend(point(0, false, 100, 100), point(0, false, 110, 110));
        assert_eq!((done.direction, done.done_in_seconds), (Direction::Same, Some(0.0)));
        // What was looked at meanwhile says nothing of what got through.
        let long = trend(point(900_000, true, 1000, 900_000), point(500_000, true, 1060, 900_010));
        assert_eq!((long.counted, long.before, long.now), (Unit::Positions, 899_000, 898_950));
    }
}
