//! Reading and folding one event, whatever the projection does with it: code that panics must not take the others down.

use std::panic::{AssertUnwindSafe, UnwindSafe, catch_unwind};

use events::{DecodeError, Payload, Recorded};
use read_model::{AnyProjection, Folded, Pending};

use crate::dead_letters::park::Reason;
use crate::part::panicked;
use crate::watch::{self, At};

/// Why an event cannot be folded, for as long as neither it nor the code changes. After a panic the changes may be half of
/// what they should be, and must not be written; else they are as before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    pub error: String,
}

/// # Errors
/// The event is poison.
pub fn fold(
    projection: &dyn AnyProjection,
    pending: &mut dyn Pending,
    event: &Recorded<Payload>,
) -> Result<Folded, Refusal> {
    let _watched = watch::enter(At { projection: projection.name(), what: "fold", position: event.position });
    // What it leaves behind is not looked at again after a panic.
    refusing("fold", AssertUnwindSafe(|| pending.fold(event)))
}

/// Whether the event is in the projection's set.
///
/// # Errors
/// It is, and its data does not fit.
pub fn decodes(projection: &dyn AnyProjection, event: &Payload) -> Result<bool, Refusal> {
    refusing("decode", AssertUnwindSafe(|| projection.decodes(event)))
}

fn refusing<T>(what: &str, code: impl FnOnce() -> Result<T, DecodeError> + UnwindSafe) -> Result<T, Refusal> {
    match catch_unwind(code) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Refusal { reason: Reason::WrongData, error: error.to_string() }),
        Err(panic) => {
            Err(Refusal { reason: Reason::Panicked, error: format!("the {what} panicked: {}", panicked(&*panic)) })
        }
    }
}
