//! How a command ends: its exit code, by which a script decides.

use std::fmt::Display;
use std::process::ExitCode;

use anyhow::Error;

/// What an exit code means. A command that runs another one, as `fleet schema` does, passes that one's code on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Good = 0,
    Failure = 1,
    Usage = 2,
    Unhealthy = 3,
    Refused = 4,
    Unreachable = 5,
    Interrupted = 130,
}

/// An error that says how the command ends.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
struct Ended {
    exit: Exit,
    why: String,
}

impl Exit {
    pub const ALL: [Self; 7] =
        [Self::Good, Self::Failure, Self::Usage, Self::Unhealthy, Self::Refused, Self::Unreachable, Self::Interrupted];

    pub const fn code(self) -> u8 {
        self as u8
    }

    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Good => "good: it is done, or shown",
            Self::Failure => "failure: it was tried, and not all of it worked",
            Self::Usage => "usage: the command line cannot be meant, and nobody was asked",
            Self::Unhealthy => "unhealthy: the fleet answers, and says that it cannot work, or what is wrong",
            Self::Refused => "refused: the fleet does not do what was asked, and says why",
            Self::Unreachable => "not reachable: nobody answers",
            Self::Interrupted => "interrupted: by Ctrl-C; what the fleet was asked for goes on",
        }
    }

    /// The error with which a command ends this way.
    pub fn because(self, why: impl Display) -> Error {
        Ended { exit: self, why: why.to_string() }.into()
    }

    /// How a command ends with an error.
    pub fn of(error: &Error) -> Self {
        error.chain().find_map(|cause| cause.downcast_ref::<Ended>()).map_or(Self::Failure, |ended| ended.exit)
    }

    /// All of them, for `--help`.
    pub fn help() -> String {
        let lines = Self::ALL.map(|exit| format!("\n  {:<3}  {}", exit.code(), exit.meaning()));
        format!("Exit codes:{}", lines.concat())
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_ends_as_it_says_whatever_is_said_about_it() {
        let refused = Exit::Refused.because("no").context("asking").context("replaying");
        assert_eq!((Exit::of(&refused), format!("{refused:#}")), (Exit::Refused, "replaying: asking: no".to_owned()));
        assert_eq!(Exit::of(&anyhow::anyhow!("no")), Exit::Failure);
    }
}
