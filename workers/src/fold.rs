//! Folding one event, whatever the projection does with it: code that panics must not take the others down.

use std::panic::{AssertUnwindSafe, catch_unwind};

use events::{Payload, Recorded};
use read_model::{Folded, Pending};

use crate::park::Reason;
use crate::part::said;

/// Why an event cannot be folded, for as long as neither it nor the code changes. After a panic the changes may be half of
/// what they should be, and must not be written; else they are as before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    pub error: String,
}

/// # Errors
/// The event is poison.
pub fn fold(pending: &mut dyn Pending, event: &Recorded<Payload>) -> Result<Folded, Refusal> {
    // What it leaves behind is not looked at again after a panic.
    match catch_unwind(AssertUnwindSafe(|| pending.fold(event))) {
        Ok(Ok(folded)) => Ok(folded),
        Ok(Err(error)) => Err(Refusal { reason: Reason::WrongData, error: error.to_string() }),
        Err(panic) => Err(Refusal { reason: Reason::Panicked, error: format!("the fold panicked: {}", said(&*panic)) }),
    }
}
