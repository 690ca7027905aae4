//! Commands against a running fleet, over the same gRPC and HTTP that everybody else uses.

pub mod export;
pub mod healthcheck;
pub mod import;
pub mod replay;
pub mod status;
