//! The event store: append, read, relay.
//!
//! What always holds:
//! - An append that was answered is durable and readable ([`append`]).
//! - Positions are gapless and rise in commit order; a reader at position n has seen everything up to n ([`read`]).
//! - Versions are gapless within an aggregate; two writers can never both have the same one.
//! - One idempotency key, one result.
//! - The relay's cursor never passes an event that the bus has not confirmed ([`relay`]).
//!
//! This crate must not know who reads: projections and workers are strangers to it.

pub mod append;
pub mod grants;
pub mod keys;
pub mod read;
pub mod relay;
pub mod service;
pub mod snapshot;
pub mod tail;
pub mod unreadable;
pub mod validate;

pub mod metrics;

pub use metrics::Metrics;

/// The generated gRPC code.
pub mod proto {
    #![expect(clippy::allow_attributes, reason = "generated code")]
    tonic::include_proto!("fleet.eventstore.v1");

    /// For server reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/event_store.bin"));
}

/// The tables of the store. Its versions are below 1000, so that other crates' migrations can share a database.
pub fn migrations() -> sqlx::migrate::Migrator {
    let mut migrator = sqlx::migrate!("./migrations");
    migrator.set_ignore_missing(true);
    migrator
}
