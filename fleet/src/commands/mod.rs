//! Commands: against a running fleet, over the same gRPC and HTTP that everybody else uses, and about the program itself.

mod actor;
pub mod audit;
pub mod completion;
pub mod dead_letters;
pub mod doctor;
pub mod export;
pub mod generations;
pub mod healthcheck;
pub mod import;
pub mod inspect;
pub mod openapi;
mod operation;
pub mod operations;
pub mod out;
pub mod pause;
pub mod prune;
pub mod refused;
pub mod replay;
pub mod schema;
pub mod status;
mod table;
pub mod token;
pub mod topics;
pub mod unreadable;
pub mod wait_for;
