//! One receipt of one message.

use std::fmt;

use chrono::{DateTime, Utc};

use crate::Message;

/// A message as it came, and the means to say what became of it.
#[derive(Debug)]
pub struct Delivery {
    pub message: Message,
    /// The bus's own id: the same at every redelivery.
    pub message_id: String,
    pub published_at: Option<DateTime<Utc>>,
    /// Which delivery of this message it is, from 1; `None` where the bus does not count.
    pub attempt: Option<u32>,
    pub receipt: Receipt,
}

/// The right to settle one delivery, once. Dropping it gives the message back.
pub struct Receipt(Option<Box<dyn Settle>>);

/// How a bus takes the answer.
pub trait Settle: Send + Sync {
    fn ack(self: Box<Self>);
    fn nack(self: Box<Self>);
}

impl Receipt {
    pub fn new(settle: impl Settle + 'static) -> Self {
        Self(Some(Box::new(settle)))
    }

    /// The message is settled: it need not come again.
    pub fn ack(mut self) {
        if let Some(settle) = self.0.take() {
            settle.ack();
        }
    }

    /// The message is not settled: it is delivered again.
    pub fn nack(self) {
        drop(self);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some(settle) = self.0.take() {
            settle.nack();
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receipt")
    }
}
