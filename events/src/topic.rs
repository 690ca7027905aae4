//! The topics, and which aggregates speak on which.

use std::fmt;

/// A Pub/Sub topic with its one subscription. The values are those of the ADR; `deploy/topics.json` repeats them.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Topic {
    pub name: &'static str,
    pub aggregate_types: &'static [&'static str],
    /// The subscription that the topic's workers read.
    pub subscription: &'static str,
    /// How long the topic keeps messages, in days.
    pub retention_days: u32,
    /// Whether an event that somebody else published, and that the store does not know, is appended to the store
    /// (and then applied) or parked.
    pub adopts_foreign_events: bool,
}

pub static VOCABULARY: Topic = Topic {
    name: "vocabulary-events",
    aggregate_types: &["VocabularyEntry", "VocabularyItem"],
    subscription: "vocabulary-projection",
    retention_days: 7,
    adopts_foreign_events: false,
};

pub static PROGRESS: Topic = Topic {
    name: "progress-events",
    aggregate_types: &["LearningSession", "LearnerMilestone"],
    subscription: "progress-projection",
    retention_days: 30,
    adopts_foreign_events: false,
};

pub static INTEGRATION: Topic = Topic {
    name: "integration-events",
    aggregate_types: &["User"],
    subscription: "integration-projection",
    retention_days: 7,
    adopts_foreign_events: true,
};

/// All topics there are.
pub static TOPICS: [&Topic; 3] = [&VOCABULARY, &PROGRESS, &INTEGRATION];

impl Topic {
    /// Seconds a worker has to acknowledge a message.
    pub const ACK_DEADLINE_SECONDS: u32 = 60;
    /// Shortest wait before a redelivery, in seconds.
    pub const MINIMUM_BACKOFF_SECONDS: u32 = 10;
    /// Longest wait before a redelivery, in seconds.
    pub const MAXIMUM_BACKOFF_SECONDS: u32 = 600;
    /// Deliveries after which the broker gives a message to the dead-letter topic. High, because the fleet parks poison
    /// itself: only what no worker could even answer for gets there.
    pub const MAX_DELIVERY_ATTEMPTS: u32 = 100;
    /// How long dead letters are kept for a person to look at, in days: the longest that Pub/Sub keeps anything.
    pub const DEAD_LETTER_RETENTION_DAYS: u32 = 31;

    pub fn named(name: &str) -> Option<&'static Self> {
        TOPICS.into_iter().find(|topic| topic.name == name)
    }

    /// The topic on which this aggregate type speaks. `None`: nobody listens to it, its events stay in the store.
    pub fn of_aggregate_type(aggregate_type: &str) -> Option<&'static Self> {
        TOPICS.into_iter().find(|topic| topic.aggregate_types.contains(&aggregate_type))
    }

    /// The topic that receives what the broker gave up on; its subscription has the same name.
    pub fn dead_letter(&self) -> String {
        format!("{}-dead-letter", self.subscription)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aggregate_type_speaks_on_one_topic_only() {
        let mut types: Vec<_> = TOPICS.iter().flat_map(|topic| topic.aggregate_types).collect();
        let all = types.len();
        types.sort_unstable();
        types.dedup();
        assert_eq!(types.len(), all);
    }
}
