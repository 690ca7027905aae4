//! Places at which a test ends the fleet (elsewhere called fail points): between any two steps whose order matters.
//!
//! `kill_point!("apply.recorded");` stands after the step that it is named for. It is there in debug builds only; a
//! release build has not a single instruction of it. A test reaches it in two ways:
//! - in a process: `FLEET_KILL_AT=apply.recorded:3` ends it with SIGKILL when it passes the point for the third time;
//!   `FLEET_SAY_KILL_POINTS=1` makes it write each point that it passes to standard error;
//! - within a test: [`kill_at`] drops the work at the point, [`hold_at`] lets it wait there.
//!
//! This crate must not know what the points mean.

/// Passes a point: the name of the crate's part, a dot, and the step that was just done.
#[macro_export]
macro_rules! kill_point {
    ($point:literal) => {
        #[cfg(debug_assertions)]
        $crate::pass($point).await;
    };
}

#[cfg(debug_assertions)]
mod armed;
#[cfg(debug_assertions)]
mod watched;

#[cfg(debug_assertions)]
pub use watched::{Held, carried, hold_at, kill_at, passed};

/// In a release build nothing is watched.
#[cfg(not(debug_assertions))]
pub fn carried<F: Future>(work: F) -> F {
    work
}

/// What the macro calls.
#[cfg(debug_assertions)]
pub async fn pass(point: &'static str) {
    armed::pass(point);
    watched::pass(point).await;
}
