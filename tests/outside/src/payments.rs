//! `payment-events`: what customers pay, as the bank says.

use fleet::serde::Deserialize;
use fleet::uuid::Uuid;
use fleet::{DecodeError, EventSet, Payload, Topic, payload};

pub static PAYMENTS: Topic = Topic {
    name: "payment-events",
    aggregate_types: &["Payment"],
    subscription: "payment-projection",
    retention_days: 30,
    adopts_foreign_events: false,
};

pub enum PaymentEvent {
    Received(Payment),
    Refunded(Payment),
    Failed(PaymentFailed),
}

#[derive(Deserialize)]
#[serde(crate = "fleet::serde")]
pub struct Payment {
    pub customer_id: Uuid,
    pub cents: i64,
}

#[derive(Deserialize)]
#[serde(crate = "fleet::serde")]
pub struct PaymentFailed {
    pub customer_id: Uuid,
}

impl EventSet for PaymentEvent {
    const TOPICS: &'static [&'static Topic] = &[&PAYMENTS];

    fn decode(event: &Payload) -> Result<Option<Self>, DecodeError> {
        Ok(Some(match event.event_type.as_str() {
            "PaymentReceived" => Self::Received(payload(event)?),
            "PaymentRefunded" => Self::Refunded(payload(event)?),
            "PaymentFailed" => Self::Failed(payload(event)?),
            _ => return Ok(None),
        }))
    }
}
