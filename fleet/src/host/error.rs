//! Why a part cannot begin.

use database::migrations;
use database::pooler::Refusal;

/// Why a part cannot begin. What goes wrong later is tried again, or is said by [`Ended`](super::Ended).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be brought up to date.
    #[error(transparent)]
    Migrations(#[from] migrations::Error),
    /// A read model cannot be established in the database.
    #[error("establishing projection {projection}: {cause}")]
    Projection {
        /// Its name.
        projection: &'static str,
        /// What is wrong.
        cause: workers::fence::Error,
    },
    /// A pooler stands before Postgres with which the parts could not work.
    #[error(transparent)]
    Pooler(#[from] Refusal),
    /// The registry has metrics of these names already: two `Parts` must not share one.
    #[error("registering metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// A user of Postgres cannot be given what its duty needs.
    #[error("granting: {0}")]
    Grant(String),
    /// An address of the event store that is none.
    #[error("{0:?} is not host:port")]
    Address(String),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Migrations(error.into())
    }
}
