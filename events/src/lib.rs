//! The language: what is said between the command side, the bus and the read models.
//!
//! A [`NewEvent`] is appended; a [`Recorded`] event is read. `Recorded<Payload>` is what the store and the bus
//! carry: the envelope with the data still as JSON. `Recorded<E>` is what a projection folds: the same envelope
//! with the data decoded into an [`EventSet`] in its newest shape.
//!
//! This crate knows neither Postgres nor Pub/Sub. The catalogue (one file per topic) is the part a team replaces
//! with its own; the rest it keeps.

mod decode;
mod id;
mod json;
mod metadata;
mod recorded;
pub mod topic;
mod trace;
mod upcast;
pub mod wire;

pub mod integration;
pub mod progress;
pub mod vocabulary;

pub use decode::{DecodeError, EventSet, payload};
pub use id::{AggregateId, EventId, Position, Version};
pub use json::{Json, Object};
pub use metadata::Metadata;
pub use recorded::{AppendLine, EventLine, NewEvent, Payload, Recorded};
pub use topic::{TOPICS, Topic};
pub use trace::is_traceparent;
pub use upcast::Upcast;
