//! The one extension point of the fleet.

use std::future::Future;

use events::{EventSet, Recorded};
use sqlx::PgConnection;

/// A read model, kept equal to the fold of the store.
///
/// The runtime promises: the events of one aggregate come in version order, none missing, each once as far as the
/// database can see; events of different aggregates come in any order, also from other processes at the same time.
/// `write` runs inside the transaction that also records which events were applied; after an error nothing of it is
/// kept, and the same events may come again, alone or in other company.
///
/// The author promises: the outcome does not depend on the order between aggregates; only `db` is touched; no clock,
/// no randomness, no network, or a rebuild would differ; rows are written in the order of their keys, or two workers
/// would deadlock.
pub trait Projection: Send + Sync + 'static {
    /// Also the Postgres schema in which consumers read the tables.
    const NAME: &'static str;
    /// Raised when fold, write or tables change meaning: old and new generations never mix.
    const VERSION: u32;
    /// `schema.sql`: the tables, with unqualified names, created anew for each generation.
    const TABLES: &'static str;
    /// Secondary indexes, with unqualified names. A rebuild makes them last, on full tables, which is faster; what
    /// [`write`](Self::write) itself needs belongs to the tables.
    const INDEXES: &'static str = "";
    /// What it listens to: topic, decoding, upcasts.
    type Event: EventSet;
    /// Everything that some events change, at most one entry a row.
    type Changes: Default + Send;

    /// Adds an event to the changes. It cannot fail: whatever could be wrong with an event is the decoding's to say.
    fn fold(changes: &mut Self::Changes, event: &Recorded<Self::Event>);

    /// Writes `changes` to the tables, whose unqualified names resolve to the projection's current generation.
    ///
    /// # Errors
    /// Those of its statements. What Postgres refuses is parked, with its error; what an outage breaks is tried again.
    fn write(changes: Self::Changes, db: &mut PgConnection) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Why changes are not written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Postgres, or the way to it.
    #[error("{}", said(.0))]
    Database(#[from] sqlx::Error),
    /// The code does not take an event, and says why. A worker parks it, as what Postgres refuses: the batch is cut until it is
    /// alone. The text is shown to whoever looks, and is to have no data of anybody in it.
    #[error("{0}")]
    Refused(String),
}

/// As Postgres says it, without the line of its own source at which it has found out.
fn said(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(found) => match found.code() {
            Some(code) => format!("{} (SQLSTATE {code})", found.message()),
            None => found.message().to_owned(),
        },
        None => error.to_string(),
    }
}
