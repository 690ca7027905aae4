//! A topic, and which aggregates speak on it.

use std::fmt;

/// A Pub/Sub topic with its one subscription. `topics --json` of a program prints all of its topics with the values below, for
/// whatever makes them in Pub/Sub.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Topic {
    /// The topic's own name, never a resource path.
    pub name: &'static str,
    /// The aggregates whose events it carries, all of them. An aggregate type speaks on one topic only.
    pub aggregate_types: &'static [&'static str],
    /// The subscription that the topic's workers read.
    pub subscription: &'static str,
    /// How long the topic keeps messages, in days.
    pub retention_days: u32,
    /// Whether an event that somebody else published, and that the store does not know, is appended to the store
    /// (and then applied) or parked.
    pub adopts_foreign_events: bool,
}

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

    /// Whether the events of such aggregates travel on it.
    pub fn carries(&self, aggregate_type: &str) -> bool {
        self.aggregate_types.contains(&aggregate_type)
    }

    /// The topic that receives what the broker could not deliver; its subscription has the same name.
    pub fn dead_letter(&self) -> String {
        format!("{}-dead-letter", self.subscription)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
