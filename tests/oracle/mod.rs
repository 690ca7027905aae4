//! What the read models must hold: a plain fold of the events in the order of the store, one event after the other.
//!
//! It is written from the description of events and read models alone and must not know `events` or `projections`:
//! what is wrong in both would be found nowhere. It is as dumb as can be. Everything is kept in memory, counts of
//! things are counted at the end, and nothing is left out for speed.

mod canonical;
mod compare;
mod event;
mod learner_journeys;
mod learner_progress;
mod learning_time;
mod store;
mod table;
mod tests;
mod user_directory;
mod vocabulary;

use std::collections::BTreeMap;

pub use compare::{Difference, first_difference};
pub use event::Event;
pub use store::{assert_equal, assert_equal_as_of, assert_equal_but, holds};
pub use table::{TABLES, Tables};

/// The events folded so far.
#[derive(Default)]
pub struct Oracle {
    held: Held,
    vocabulary: vocabulary::Vocabulary,
    learner_progress: learner_progress::LearnerProgress,
    learner_journeys: learner_journeys::LearnerJourneys,
    user_directory: user_directory::UserDirectory,
    learning_time: learning_time::LearningTime,
}

/// The last version to fold of aggregates that are held behind a parked event: by projection and aggregate.
#[derive(Debug, Default, Clone)]
pub struct Held(BTreeMap<(&'static str, String), i64>);

impl Held {
    /// In this projection nothing of this aggregate after `version` is applied; 0: nothing at all.
    pub fn after(&mut self, projection: &'static str, aggregate: impl ToString, version: i64) {
        self.0.insert((projection, aggregate.to_string()), version);
    }

    fn holds(&self, projection: &'static str, event: &Event) -> bool {
        // Only to look it up; a history has few of them or none.
        !self.0.is_empty()
            && self.0.get(&(projection, event.aggregate_id.clone())).is_some_and(|last| event.event_version > *last)
    }
}

impl Oracle {
    pub fn holding(held: Held) -> Self {
        Self { held, ..Self::default() }
    }

    /// The rows after all of these events.
    pub fn fold(events: impl IntoIterator<Item = Event>) -> Tables {
        let mut oracle = Self::default();
        events.into_iter().for_each(|event| oracle.apply(event));
        oracle.tables()
    }

    /// The next event of the store. One that no projection handles changes nothing.
    ///
    /// # Panics
    /// The event is none that the description allows at this place.
    pub fn apply(&mut self, event: Event) {
        let event = event.upcasted();
        let goes_to = |projection| !self.held.holds(projection, &event);
        match event.aggregate_type.as_str() {
            "VocabularyEntry" | "VocabularyItem" if goes_to("vocabulary") => self.vocabulary.apply(&event),
            "LearningSession" | "LearnerMilestone" => {
                if goes_to("learner_progress") {
                    self.learner_progress.apply(&event);
                }
                if goes_to("learner_journeys") {
                    self.learner_journeys.apply(&event);
                }
                if goes_to("learning_time") {
                    self.learning_time.apply(&event);
                }
            }
            "User" => {
                if goes_to("user_directory") {
                    self.user_directory.apply(&event);
                }
                if goes_to("learning_time") {
                    self.learning_time.apply(&event);
                }
            }
            _ => {}
        }
    }

    pub fn tables(&self) -> Tables {
        let mut tables = Tables::default();
        self.vocabulary.rows(&mut tables);
        self.learner_progress.rows(&mut tables);
        self.learner_journeys.rows(&mut tables);
        self.user_directory.rows(&mut tables);
        self.learning_time.rows(&mut tables);
        tables
    }
}
