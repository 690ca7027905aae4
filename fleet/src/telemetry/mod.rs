//! How a process speaks of itself: logs, and spans.

mod cloud;
mod export;
mod log;
mod request;
mod storms;
mod waiting;

use std::panic;
use std::sync::Once;

use anyhow::Result;
use clap::Args;

pub use export::spans;
pub use log::{Log, init};
pub use storms::lines;

/// What a role says of itself, and to whom.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    #[command(flatten)]
    log: Log,
    #[command(flatten)]
    traces: export::Traces,
}

/// When it is dropped, what is left is said, for which it takes a second and a half at most.
#[derive(Debug)]
#[must_use = "spans go out for as long as it is there"]
pub struct Telemetry {
    _export: Option<export::Export>,
}

/// From now on it is known where code panics: a dead letter says so. What was done with a panic before is done as well.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            workers::part::panics(panic.location());
            before(panic);
        }));
    });
}

/// Begins to speak, in the name of a role.
///
/// # Errors
/// A setting is none; the error says which.
pub fn begin(role: &str, settings: &Settings) -> Result<Telemetry> {
    init(role, &settings.log)?;
    note_panics();
    workers::watch::begin();
    Ok(Telemetry { _export: export::Export::begin(role, &settings.traces)? })
}
