//! Talking to a running fleet: where it is, and waiting while it restarts.

mod grpc;
mod http;
mod wait;

pub use grpc::{EventStore, GRPC, endpoint, unavailable};
pub use http::{AdminApi, HTTP, Silence, base, body};
