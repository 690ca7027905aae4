//! Talking to a running fleet: where it is, and waiting while it restarts.

mod address;
mod cause;
mod found;
mod grpc;
mod http;
mod shown;
mod wait;

pub use address::base;
pub use cause::innermost;
pub use found::FOLDER;
pub use grpc::{EventStore, GRPC, endpoint, unavailable};
pub use http::{AdminApi, HTTP, body, path};
pub use shown::Shown;
