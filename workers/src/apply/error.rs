//! Why events were not applied, and who can do something about it.

use event_store::read;
use events::EventId;

use crate::dead_letters::park::Reason;
use crate::fence;
use crate::watch::At;

/// The transaction was rolled back. A retry may succeed, except after `NotWritable`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}", database::describe(.0))]
    Database(#[from] sqlx::Error),
    /// In the projection's own statements.
    #[error("{}", written(.0))]
    Write(sqlx::Error),
    #[error("the write panicked: {0}")]
    WritePanicked(String),
    /// The projection's own code does not take an event.
    #[error("{0}")]
    Refused(String),
    /// An event cannot be folded, which leaves the changes of its batch in no state to be written.
    #[error("{}", .1.1)]
    Condemned(EventId, (Reason, String)),
    /// The projection's generation is not this code's to write to, or is not there yet.
    #[error(transparent)]
    NotWritable(fence::Error),
    /// The store lacks positions.
    #[error("{0}")]
    Gap(String),
    /// The projection's code keeps a thread of this process, and may keep another.
    #[error("{0} does not come back: this process leaves the projection alone; other code has to be started")]
    Stuck(At),
    /// Another worker was first with an aggregate.
    #[error("lost a race for an aggregate")]
    Raced,
}

/// What is wrong with a statement itself, or with the tables, is no outage.
fn written(error: &sqlx::Error) -> String {
    match error.as_database_error().and_then(|database| Some((database.code()?, database.message()))) {
        Some((code, message)) if database::is_misfit(error) => format!(
            "{message} (SQLSTATE {code}): a statement of the read model does not fit its tables, which does not pass by itself. \
             If somebody has changed the tables by hand, change them back; if the code is new, mend the statement, or raise VERSION. \
             A write must not end its transaction: after a commit in it, names mean other tables"
        ),
        _ => database::describe(error),
    }
}

impl From<fence::Error> for Error {
    fn from(error: fence::Error) -> Self {
        match error {
            fence::Error::Database(error) => Self::Database(error),
            refused => Self::NotWritable(refused),
        }
    }
}

impl From<read::Error> for Error {
    fn from(error: read::Error) -> Self {
        match error {
            read::Error::Database(error) => Self::Database(error),
            gap @ read::Error::Gap { .. } => Self::Gap(gap.to_string()),
        }
    }
}

impl From<read_model::Error> for Error {
    fn from(error: read_model::Error) -> Self {
        match error {
            read_model::Error::Database(error) => Self::Write(error),
            read_model::Error::Refused(why) => Self::Refused(why),
        }
    }
}

impl Error {
    fn database(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Database(error) | Self::Write(error) => Some(error),
            _ => None,
        }
    }

    /// Nothing is written until somebody resumes the projection, or its pause has come to its end.
    pub fn is_paused(&self) -> bool {
        matches!(self, Self::NotWritable(fence::Error::Paused(..)))
    }

    /// Nothing is written by this code until a generation of it is live.
    pub(crate) fn is_outdated(&self) -> bool {
        matches!(self, Self::NotWritable(fence::Error::Version { .. }))
    }

    /// Whether a retry can succeed; if not, an operator must act.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Raced) || self.database().is_some_and(database::is_transient)
    }

    /// The events themselves are to blame: they will fail again however often they are tried.
    pub(crate) fn is_poison(&self) -> bool {
        matches!(self, Self::WritePanicked(_) | Self::Refused(_)) || self.database().is_some_and(database::blames_data)
    }

    /// Why the event is parked that is to blame.
    pub(crate) fn reason(&self) -> Reason {
        if matches!(self, Self::WritePanicked(_)) { Reason::Panicked } else { Reason::WriteFailed }
    }

    /// Without one of its events, the batch would go through.
    pub(crate) fn blames_an_event(&self) -> bool {
        self.is_poison() || matches!(self, Self::Condemned(..))
    }

    /// Fewer events may go through where these did not.
    pub(crate) fn is_too_much(&self) -> bool {
        self.database().is_some_and(database::is_too_much)
    }

    /// It was the projection's own statement that took too long; waiting for a lock is something else.
    pub(crate) fn is_too_slow(&self) -> bool {
        matches!(self, Self::Write(error) if database::is_timeout(error))
    }

    pub(crate) fn is_race(&self) -> bool {
        let code = self.database().and_then(|error| error.as_database_error()?.code());
        matches!(self, Self::Raced) || code.is_some_and(|code| code.starts_with("40"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_code_refuses_and_what_it_panics_at_is_poison_and_parked_for_its_own_reason() {
        let refused = Error::from(read_model::Error::Refused("no carrier has this name".to_owned()));
        assert_eq!((refused.is_poison(), refused.reason()), (true, Reason::WriteFailed));
        assert_eq!(refused.to_string(), "no carrier has this name");
        let panicked = Error::WritePanicked("out of paint".to_owned());
        assert_eq!((panicked.is_poison(), panicked.reason()), (true, Reason::Panicked));
        let away = Error::from(read_model::Error::Database(sqlx::Error::PoolClosed));
        assert!(!away.is_poison());
    }
}
