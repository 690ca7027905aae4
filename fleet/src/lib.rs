//! A fleet of projection workers, as a library: a program names its topics and read models, and is the whole command line.
//!
//! [`Fleet::builder`] is the door. An author's crate needs no other crate of the fleet: what a topic and a read model are
//! made of is here as well. The rest of this crate composes the parts: it knows all of them, and no part knows it.

#![deny(missing_docs)]
// Both panic when nobody reads: `commands::out` does not.
#![deny(clippy::print_stderr, clippy::print_stdout)]

mod auth;
pub mod host;
mod program;

// What follows is public for the tests and benches of this repository, and promises nothing to anybody else.
#[doc(hidden)]
pub mod bus_choice;
mod called;
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod client;
#[doc(hidden)]
pub mod commands;
#[doc(hidden)]
pub mod dev;
mod examples;
#[doc(hidden)]
pub mod exit;
mod keep;
mod origin;
#[doc(hidden)]
pub mod roles;
#[doc(hidden)]
pub mod serve;
#[doc(hidden)]
pub mod shutdown;
#[doc(hidden)]
pub mod telemetry;

pub use events::{
    AggregateId, DecodeError, EventId, EventSet, Json, Metadata, NewEvent, Object, Payload, Position, Recorded, Topic,
    Upcast, Version, payload, payload_of, upcast, upcasted,
};
pub use origin::Origin;
pub use program::{Builder, Fleet};
pub use read_model::{AnyProjection, Catalogue, Error, Mistake, Projection, column, testing};
pub use {axum, chrono, serde, serde_json, sqlx, uuid};
