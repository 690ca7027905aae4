//! A message as it was received, without the right to settle it: on its way into the fleet, or out of what is parked.

use bus::{Delivery, Message};

#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    pub message: &'a Message,
    /// The bus's own id.
    pub message_id: &'a str,
}

impl<'a> From<&'a Delivery> for Received<'a> {
    fn from(delivery: &'a Delivery) -> Self {
        Self { message: &delivery.message, message_id: &delivery.message_id }
    }
}
