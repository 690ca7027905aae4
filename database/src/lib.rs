//! Postgres as the fleet meets it: what it says, how it is connected to, how long it may take, and which server may be
//! believed.
//!
//! This crate must not know any table of the store or of the workers.

pub mod deadline;
pub mod options;
pub mod pool;
pub mod primary;
pub mod sqlstate;

pub use deadline::{SILENCE, heard, timed_out};
pub use options::options;
pub use primary::refuse_standby;
pub use sqlstate::{blames_data, describe, is_transient, is_unique_violation};
