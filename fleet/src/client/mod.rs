//! Talking to a running fleet: where it is, and waiting while it restarts.

mod cause;
mod found;
mod grpc;
mod http;
mod shown;
mod wait;

pub use cause::innermost;
pub use grpc::{EventStore, GRPC, endpoint, refusal, unavailable};
pub use http::{AdminApi, HTTP, base, body, path};
pub use shown::Shown;
