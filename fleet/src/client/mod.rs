//! Talking to a running fleet: where it is, and waiting while it restarts.

mod address;
mod cause;
mod found;
mod grpc;
mod http;
mod shown;
mod wait;

/// What is to be done where nobody answers; the variable comes after it.
const START: &str = "start one with `fleet dev`, or say where it is: the address is that of";

pub use address::base;
pub use cause::innermost;
pub use grpc::{EventStore, GRPC, endpoint, unavailable};
pub use http::{AdminApi, HTTP, body, path};
pub use shown::Shown;
