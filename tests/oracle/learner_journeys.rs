//! The way that each session took.

use std::collections::BTreeMap;

use super::canonical::{array, or_null, text};
use super::{Event, Tables};

#[derive(Default)]
pub struct LearnerJourneys {
    journeys: BTreeMap<String, Journey>,
}

struct Journey {
    user_id: String,
    steps: Vec<String>,
    outcome: Option<&'static str>,
}

impl LearnerJourneys {
    pub fn apply(&mut self, event: &Event) {
        match event.event_type.as_str() {
            "SessionStarted" => {
                let steps = vec![format!("started:{}", event.string("strategy"))];
                let journey = Journey { user_id: event.string("user_id"), steps, outcome: None };
                // A journey begins once.
                self.journeys.entry(event.string("session_id")).or_insert(journey);
            }
            "CorrectnessJudged" => {
                let step = match event.string("judgment").as_str() {
                    "auto_confirmed" => "auto",
                    "user_confirmed_correct" => "correct",
                    "user_confirmed_incorrect" => "incorrect",
                    other => panic!("a judgment {other}"),
                };
                self.journey(event).steps.push(step.to_owned());
            }
            "SessionCompleted" => self.ended(event, "completed"),
            "SessionAbandoned" => self.ended(event, "abandoned"),
            _ => {}
        }
    }

    fn ended(&mut self, event: &Event, outcome: &'static str) {
        let step = format!("{outcome}:{}", event.string("reason"));
        let journey = self.journey(event);
        journey.steps.push(step);
        journey.outcome = Some(outcome);
    }

    fn journey(&mut self, event: &Event) -> &mut Journey {
        let journey = self.journeys.get_mut(&event.string("session_id"));
        journey.unwrap_or_else(|| panic!("a session begins with SessionStarted, not with {event:?}"))
    }

    pub fn rows(&self, tables: &mut Tables) {
        for (id, journey) in &self.journeys {
            let steps = array(journey.steps.iter().map(|step| text(step)));
            let values = [text(id), text(&journey.user_id), steps, or_null(journey.outcome.map(text))];
            tables.insert("learner_journeys", values);
        }
    }
}
