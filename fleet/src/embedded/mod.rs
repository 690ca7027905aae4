//! Finds or starts what a fleet on one machine needs: a Postgres, and a Pub/Sub emulator.
//!
//! `fleet dev` and the integration tests resolve through the same two calls, [`Postgres::resolve`] and
//! [`Emulator::resolve`]: what the caller was given is used as it is; else what is installed is started privately
//! and dies with this process, however that ends. Each has a `choice`, the sentence that says what was taken.
//!
//! This module knows no tables, topics or projections, reads no settings of the fleet, and is not part of a
//! deployment.

mod account;
mod child;
mod cluster;
mod data_dir;
mod download;
mod error;
mod home;
mod installed;
mod port;
mod postgres;
mod postmaster;
mod pubsub;
mod search;

pub use data_dir::{DataDir, Place};
pub use error::Error;
pub use postgres::Postgres;
pub use pubsub::Emulator;
