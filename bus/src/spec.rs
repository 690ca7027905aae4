//! What a subscription is, for the buses that are set up from code: the emulator and the embedded one. In production it is
//! Terraform's.

use std::time::Duration;

/// Names are short (`order-projection`), never resource paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    pub name: String,
    pub topic: String,
    /// 10 to 600. How long a delivery may stay unsettled once nobody extends its lease; both buses extend it for as long
    /// as the receipt is held.
    pub ack_deadline_seconds: u32,
    /// How long after a nack the message comes again: from `min_backoff`, doubling, to `max_backoff`; at most 600 s. Two
    /// zeros: as soon as possible.
    pub min_backoff: Duration,
    pub max_backoff: Duration,
    /// Where a message goes after `max_delivery_attempts`; the topic must exist.
    pub dead_letter_topic: Option<String>,
    /// 5 to 100; of no effect without a dead-letter topic.
    pub max_delivery_attempts: u32,
    /// Deliver by HTTP POST to this address instead of by pull.
    pub push_endpoint: Option<String>,
}

impl Spec {
    /// A pull subscription that redelivers at once and for ever.
    pub fn new(name: impl Into<String>, topic: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            topic: topic.into(),
            ack_deadline_seconds: 60,
            min_backoff: Duration::ZERO,
            max_backoff: Duration::ZERO,
            dead_letter_topic: None,
            max_delivery_attempts: 5,
            push_endpoint: None,
        }
    }
}
