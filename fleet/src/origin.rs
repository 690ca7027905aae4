//! What this program was built of, and how.

use std::sync::OnceLock;

static ORIGIN: OnceLock<Origin> = OnceLock::new();

/// Of which source a program was built, and when, as whoever built it says.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Such as the commit.
    pub revision: Option<&'static str>,
    /// Such as `2026-11-28T16:00:00Z`.
    pub built_at: Option<&'static str>,
}

impl Origin {
    /// The one of this process, from now on.
    pub(crate) fn of_this_process(self) {
        let _ = ORIGIN.set(self);
    }

    /// That of this process.
    pub(crate) fn get() -> Self {
        ORIGIN.get().copied().unwrap_or_default()
    }

    pub(crate) fn revision(self) -> &'static str {
        self.revision.filter(|revision| !revision.is_empty()).unwrap_or("unknown")
    }

    /// What `--version` says.
    pub(crate) fn long_version(self) -> String {
        let built_at = self.built_at.filter(|at| !at.is_empty()).unwrap_or("unknown");
        format!("{VERSION}\nrevision  {}\nbuilt     {built_at}\nfeatures  {FEATURES}", self.revision())
    }
}

/// Of the library.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

const FEATURES: &str = if cfg!(debug_assertions) { "debug, kill points" } else { "release" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_said_to_be() {
        let said = Origin { revision: Some("abc"), built_at: Some("") }.long_version();
        assert!(said.contains("\nrevision  abc\nbuilt     unknown\nfeatures  "), "{said}");
    }
}
