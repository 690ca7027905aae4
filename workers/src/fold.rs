//! Folding one event, whatever the projection does with it: code that panics must not take the others down.

use std::panic::{AssertUnwindSafe, catch_unwind};

use events::{Payload, Recorded};
use projections::{Folded, Pending};

use crate::park::Reason;
use crate::part::said;

/// Why an event cannot be folded, for as long as neither it nor the code changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The changes are as before.
    WrongData(String),
    /// The changes may be half of what they should be, and must not be written.
    Panicked(String),
}

impl Refusal {
    pub fn reason(&self) -> Reason {
        match self {
            Self::WrongData(_) => Reason::WrongData,
            Self::Panicked(_) => Reason::Panicked,
        }
    }

    pub fn into_error(self) -> String {
        match self {
            Self::WrongData(error) | Self::Panicked(error) => error,
        }
    }
}

/// # Errors
/// The event is poison.
pub fn fold(pending: &mut dyn Pending, event: &Recorded<Payload>) -> Result<Folded, Refusal> {
    // What it leaves behind is not looked at again after a panic.
    match catch_unwind(AssertUnwindSafe(|| pending.fold(event))) {
        Ok(folded) => folded.map_err(|error| Refusal::WrongData(error.to_string())),
        Err(panic) => Err(Refusal::Panicked(format!("the fold panicked: {}", said(&*panic)))),
    }
}
