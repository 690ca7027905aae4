//! Which stage of an event's way holds up a read model. Pure.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::State;

/// A worker that sweeps takes from the store what the bus has not delivered after its grace, 10 s unless it is told otherwise.
/// What is younger may still be on its way.
pub(super) const ON_ITS_WAY: f64 = 12.0;

/// Where the oldest unsettled event of a topic is, or what it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Workers refuse the rows, because another version of the code built them.
    Version,
    /// A person said that nothing is applied for now.
    Paused,
    /// No worker of the topic is at work.
    Worker,
    /// A worker is there, and waits for a lock that somebody else holds.
    Lock,
    /// It is not published yet.
    Relay,
    /// It is published, and young enough to be on its way.
    Bus,
    /// It is as young, and whether it is published could not be found out.
    Unknown,
    /// A worker has had it in its hands, or its sweep has, and does not get it through.
    Apply,
}

impl Stage {
    /// Of a read model with unsettled events, the oldest so many seconds old. `unpublished` is the age of the topic's oldest
    /// event that the relay has not published, if that is known.
    pub fn of(state: State, lag_seconds: f64, unpublished: Option<f64>) -> Self {
        match state {
            State::Outdated => Self::Version,
            State::Paused => Self::Paused,
            State::Stopped => Self::Worker,
            State::Blocked => Self::Lock,
            State::Failing => Self::Apply,
            // It is the same event, or one before it. The two were not measured at once.
            State::Running if unpublished.is_some_and(|age| age > 0.0 && age + 2.0 >= lag_seconds) => Self::Relay,
            State::Running if lag_seconds < ON_ITS_WAY && unpublished.is_none() => Self::Unknown,
            State::Running if lag_seconds < ON_ITS_WAY => Self::Bus,
            State::Running => Self::Apply,
        }
    }

    /// As a person is told.
    pub fn says(self) -> &'static str {
        match self {
            Self::Version => "the rows were built by another version of the code, and workers refuse them",
            Self::Paused => "it is paused",
            Self::Worker => "no worker of the topic is at work",
            Self::Lock => "its worker waits for a lock in the database: `fleet locks` says whose",
            Self::Relay => "it is not published: `fleet leases` says whether a relay has the topic",
            Self::Bus => "it is published, and on its way to a worker",
            Self::Unknown => {
                "whether it is published could not be found out: `fleet locks` says whether somebody is in the way"
            }
            Self::Apply => "a worker is at work and does not get it through",
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Paused => "paused",
            Self::Worker => "worker",
            Self::Lock => "lock",
            Self::Relay => "relay",
            Self::Bus => "bus",
            Self::Unknown => "unknown",
            Self::Apply => "apply",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_has_its_case() {
        for (state, lag, unpublished, stage) in [
            (State::Outdated, 100.0, Some(100.0), Stage::Version),
            (State::Paused, 100.0, Some(100.0), Stage::Paused),
            (State::Stopped, 100.0, Some(100.0), Stage::Worker),
            (State::Blocked, 100.0, Some(100.0), Stage::Lock),
            (State::Failing, 100.0, Some(100.0), Stage::Apply),
            (State::Running, 100.0, Some(99.0), Stage::Relay),
            (State::Running, 100.0, Some(3.0), Stage::Apply),
            (State::Running, 100.0, Some(0.0), Stage::Apply),
            (State::Running, 100.0, None, Stage::Apply),
            (State::Running, 0.4, Some(0.0), Stage::Bus),
            (State::Running, 8.0, None, Stage::Unknown),
            (State::Running, 8.0, Some(8.1), Stage::Relay),
        ] {
            assert_eq!(Stage::of(state, lag, unpublished), stage, "{state:?} {lag} {unpublished:?}");
        }
    }
}
