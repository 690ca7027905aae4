//! `progress-events`: what learners do in their sessions.

mod events;

use fleet::{DecodeError, EventSet, Payload, Topic, payload};

pub use self::events::*;

/// What learners do in their sessions.
pub static PROGRESS: Topic = Topic {
    name: "progress-events",
    aggregate_types: &["LearningSession", "LearnerMilestone"],
    subscription: "progress-projection",
    retention_days: 30,
    adopts_foreign_events: false,
};

/// `MilestoneAchieved` also travels on this topic; no projection handles it, so it is not in the set.
#[derive(Debug, Clone, PartialEq)]
pub enum ProgressEvent {
    SessionStarted(SessionStarted),
    CorrectnessJudged(CorrectnessJudged),
    SessionCompleted(SessionCompleted),
    SessionAbandoned(SessionAbandoned),
}

impl EventSet for ProgressEvent {
    const TOPICS: &'static [&'static Topic] = &[&PROGRESS];

    fn decode(event: &Payload) -> Result<Option<Self>, DecodeError> {
        Ok(Some(match event.event_type.as_str() {
            "SessionStarted" => Self::SessionStarted(payload(event)?),
            "CorrectnessJudged" => Self::CorrectnessJudged(payload(event)?),
            "SessionCompleted" => Self::SessionCompleted(payload(event)?),
            "SessionAbandoned" => Self::SessionAbandoned(payload(event)?),
            _ => return Ok(None),
        }))
    }
}
