//! What is published.

use std::collections::BTreeMap;

use bytes::Bytes;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    pub data: Bytes,
    pub attributes: BTreeMap<String, String>,
}

impl Message {
    /// Pub/Sub's mark on what it could not deliver; the embedded bus leaves the same.
    /// Source: <https://cloud.google.com/pubsub/docs/handling-failures#track_the_delivery_attempts>.
    pub const DEAD_LETTER_SOURCE: &str = "CloudPubSubDeadLetterSourceSubscription";

    /// Whether it comes from a dead-letter topic.
    pub fn is_dead_letter(&self) -> bool {
        self.attributes.contains_key(Self::DEAD_LETTER_SOURCE)
    }

    /// Its size as Pub/Sub counts: data, keys and values.
    pub fn bytes(&self) -> usize {
        self.data.len() + self.attributes.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
    }
}
