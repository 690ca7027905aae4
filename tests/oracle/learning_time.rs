//! What learners are called, and how long they have studied.

use std::collections::BTreeMap;

use super::canonical::{or_null, text};
use super::{Event, Tables};

#[derive(Default)]
pub struct LearningTime {
    learners: BTreeMap<String, Learner>,
}

#[derive(Default)]
struct Learner {
    first_name: Option<String>,
    last_name: Option<String>,
    /// The version of the user's event that said so last.
    name_version: Option<i64>,
    durations: Vec<i64>,
}

impl LearningTime {
    pub fn apply(&mut self, event: &Event) {
        match event.event_type.as_str() {
            "UserSignedUp" | "UserProfileUpdated" => {
                let learner = self.learner(event);
                learner.first_name = Some(event.string("first_name"));
                learner.last_name = Some(event.string("last_name"));
                learner.name_version = Some(event.event_version);
            }
            "UserDeleted" => {
                let learner = self.learner(event);
                (learner.first_name, learner.last_name) = (None, None);
                learner.name_version = Some(event.event_version);
            }
            "SessionCompleted" => {
                let seconds = event.integer("duration_seconds");
                self.learner(event).durations.push(seconds);
            }
            _ => {}
        }
    }

    fn learner(&mut self, event: &Event) -> &mut Learner {
        self.learners.entry(event.string("user_id")).or_default()
    }

    pub fn rows(&self, tables: &mut Tables) {
        for (id, learner) in &self.learners {
            tables.insert(
                "learners",
                [
                    text(id),
                    or_null(learner.first_name.as_deref().map(text)),
                    or_null(learner.last_name.as_deref().map(text)),
                    or_null(learner.name_version),
                    learner.durations.len().to_string(),
                    learner.durations.iter().sum::<i64>().to_string(),
                ],
            );
        }
    }
}
