//! What applying to a projection fails with, for those who see that it is late and not why.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most bytes of an error that are kept.
const MOST: usize = 1000;

/// Shared by all that apply to one projection.
#[derive(Debug, Clone, Default)]
pub struct Failing(Arc<Mutex<Now>>);

/// How it is, and whether that was asked since.
#[derive(Debug, Default)]
enum Now {
    #[default]
    Well,
    Failed(String),
    /// It failed, and nothing has happened since that was said.
    Said,
    /// Something went through after it had failed.
    Mended,
}

/// News of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It failed, with this.
    Failed(String),
    /// What had failed goes through.
    Mended,
}

impl Failing {
    pub(super) fn with(&self, error: impl Display) {
        let mut error = error.to_string().replace('\0', "");
        error.truncate(error.floor_char_boundary(MOST));
        *self.now() = Now::Failed(error);
    }

    /// Something went through.
    pub(super) fn ended(&self) {
        let mut now = self.now();
        if !matches!(*now, Now::Well) {
            *now = Now::Mended;
        }
    }

    /// What there is to say since this was asked; `None`: nothing.
    pub(crate) fn take(&self) -> Option<News> {
        let mut now = self.now();
        let (next, news) = match std::mem::take(&mut *now) {
            Now::Well => (Now::Well, None),
            Now::Said => (Now::Said, None),
            Now::Failed(error) => (Now::Said, Some(News::Failed(error))),
            Now::Mended => (Now::Well, Some(News::Mended)),
        };
        *now = next;
        news
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_said_once_in_part_and_its_end_once_when_something_went_through() {
        let failing = Failing::default();
        failing.ended();
        assert_eq!(failing.take(), None, "it has not failed");
        failing.with("ä".repeat(MOST));
        let said = failing.clone().take();
        assert_eq!(said, Some(News::Failed("ä".repeat(MOST / 2))));
        assert_eq!(failing.take(), None, "it has not failed again");
        failing.with("\0again");
        assert_eq!(failing.take(), Some(News::Failed("again".to_owned())));
        failing.ended();
        assert_eq!((failing.take(), failing.take()), (Some(News::Mended), None));
        failing.with("once more");
        failing.ended();
        failing.with("and again");
        assert_eq!(failing.take(), Some(News::Failed("and again".to_owned())));
    }
}
