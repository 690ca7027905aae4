//! Postgres as the fleet meets it: what it says, how it is connected to, how long it may take, which migrations it has, and
//! which server may be believed.
//!
//! This crate must not know any table of the store or of the workers.

pub mod deadline;
pub mod lent;
pub mod migrations;
pub mod options;
pub mod pool;
pub mod pooler;
pub mod primary;
pub mod session;
pub mod sqlstate;
pub mod watch;

pub use deadline::{SILENCE, timed_out, timed_out_because, with_deadline, within};
pub use lent::Lent;
pub use migrations::Migrations;
pub use options::{beside, options};
pub use pool::Endpoint;
pub use primary::{Primary, is_found_away};
pub use session::Session;
pub use sqlstate::{
    FULL, MIGRATE, blames_data, describe, is_forbidden, is_lock_timeout, is_misfit, is_timeout, is_too_much,
    is_transient, is_unique_violation, is_unreadable, lacks_migrations, lacks_schema,
};
