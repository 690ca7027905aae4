//! The bus: how messages get from the relay to the workers.
//!
//! Two seams, [`Publisher`] and [`Subscription`], and two implementations of each: [`google`], over Google's own
//! client, and [`embedded`], within this process. Both pass the suite in `tests/`. [`chaos`] makes either
//! misbehave.
//!
//! The bus is the fast path, never the truth: it may lose, repeat and reorder whatever it carries.

pub mod chaos;
mod delivery;
pub mod embedded;
pub mod google;
mod message;
mod room;
mod spec;

use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use chaos::Chaos;
pub use delivery::{Delivery, Receipt, Settle};
pub use embedded::Embedded;
pub use google::Google;
pub use message::Message;
pub use room::{Room, Taken};
pub use spec::Spec;

/// Publishes to one topic.
pub trait Publisher: Send + Sync + 'static {
    /// Publishes `messages`, all in flight together; the caller's page is the cap.
    ///
    /// # Errors
    /// Some message was not confirmed. The error says how many, counted from the first, were: the caller may move
    /// its cursor past those and no further.
    fn publish(&self, messages: Vec<Message>) -> BoxFuture<'_, Result<(), PublishError>>;
}

/// Receives from one subscription.
pub trait Subscription: Send + Sync + 'static {
    /// Hands every delivery to `deliveries` until `stop` is cancelled or the other end is dropped; then pulls no more,
    /// gives back what was not handed over, and returns when everything that was handed over is settled and the
    /// bus knows it.
    ///
    /// # Errors
    /// The subscription cannot be read at all (it does not exist, access is denied). Outages are waited out inside.
    fn receive(&self, deliveries: mpsc::Sender<Delivery>, stop: CancellationToken) -> BoxFuture<'_, Result<(), Error>>;
}

#[derive(Debug, thiserror::Error)]
#[error("{confirmed} messages were confirmed, then: {source}")]
pub struct PublishError {
    /// How many messages from the front are surely with the bus.
    pub confirmed: usize,
    pub source: Error,
}

#[derive(Debug, thiserror::Error)]
#[error("{doing}: {reason}")]
pub struct Error {
    pub doing: String,
    pub reason: String,
}
