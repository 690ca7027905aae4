//! What applying to a projection fails with, for those who see that it is late and not why.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

/// The most bytes of an error that are kept.
const MOST: usize = 1000;

/// Shared by all that apply to one projection.
#[derive(Debug, Clone, Default)]
pub struct Failing(Arc<Mutex<Option<String>>>);

impl Failing {
    pub(super) fn with(&self, error: impl Display) {
        let mut error = error.to_string().replace('\0', "");
        error.truncate(error.floor_char_boundary(MOST));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// Something went through.
    pub(super) fn ended(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What it failed with last, if nothing has gone through since, and it has failed since this was asked.
    pub(crate) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_said_once_in_part_and_not_after_something_went_through() {
        let failing = Failing::default();
        failing.with("ä".repeat(MOST));
        let said = failing.clone().take().expect("it has failed");
        assert_eq!(said, "ä".repeat(MOST / 2));
        assert_eq!(failing.take(), None, "it has not failed again");
        failing.with("\0again");
        assert_eq!(failing.take().as_deref(), Some("again"));
        failing.with("once more");
        failing.ended();
        assert_eq!(failing.take(), None);
    }
}
