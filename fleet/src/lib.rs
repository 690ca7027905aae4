//! The fleet as one program: it knows all the parts and composes them; no part knows it.

pub mod bus_choice;
pub mod cli;
pub mod client;
pub mod commands;
pub mod dev;
pub mod roles;
pub mod serve;
pub mod shutdown;
pub mod telemetry;
