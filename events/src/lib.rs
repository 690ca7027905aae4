//! The language: what is said between the command side, the bus and the read models.
//!
//! A [`NewEvent`] is appended; a [`Recorded`] event is read. `Recorded<Payload>` is what the store and the bus
//! carry: the envelope with the data still as JSON. `Recorded<E>` is what a projection folds: the same envelope
//! with the data decoded into an [`EventSet`] in its newest shape.
//!
//! Which topics and events there are, a program says: this crate knows none of them, and neither Postgres nor Pub/Sub.

#![deny(missing_docs)]

mod decode;
mod field;
mod id;
mod json;
mod metadata;
mod recorded;
mod topic;
mod trace;
pub mod upcast;
pub mod wire;

#[cfg(test)]
mod orders;

pub use decode::{DecodeError, EventSet, payload, payload_of, upcasted};
pub use id::{AggregateId, EventId, Position, Version};
pub use json::{Json, Object};
pub use metadata::Metadata;
pub use recorded::{AppendLine, EventLine, NewEvent, Payload, Recorded};
pub use topic::Topic;
pub use trace::TraceContext;
pub use upcast::Upcast;
