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
pub mod limits;
mod message;
mod room;
mod spec;

use std::time::Duration;

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

/// How long a publisher tries before it says that the bus is away.
pub const PUBLISH_DEADLINE: Duration = Duration::from_secs(15);

/// Publishes to one topic.
pub trait Publisher: Send + Sync + 'static {
    /// Publishes `messages` in as many requests as the bus's [`limits`] ask for, all in flight together; the caller's page
    /// is the cap. A request is taken or refused as a whole.
    ///
    /// # Errors
    /// Some message was not confirmed within [`PUBLISH_DEADLINE`]. The error says how many, counted from the first, were: the
    /// caller may move its cursor past those and no further. Of the rest some may be with the bus, too. Whom the error
    /// blames says what to do with it:
    /// - [`Blame::Bus`]: try the same again.
    /// - [`Blame::Messages`]: never try the same again. Some message is to blame; with only one left, it is that one.
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
    pub blames: Blame,
}

/// Who must change for another try to succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The bus, the way to it, or the right to use it: an outage, however long, or a topic that is not there.
    Bus,
    /// What was sent: the same is refused for good.
    Messages,
}
