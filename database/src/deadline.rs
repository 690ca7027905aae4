//! How long the database may be silent.

use std::future::Future;
use std::time::Duration;

use crate::primary::unless_changed;

/// The deadline of a piece of work. The server ends each statement after a minute, so that a longer silence means a dead
/// connection: a firewall or a proxy dropped it, or a machine lost its power.
pub const SILENCE: Duration = Duration::from_secs(150);

/// Gives up on a database that has fallen silent, and at once on one that is no longer the primary. What was committed is
/// kept; the rest is for the caller to try again.
///
/// # Errors
/// Those of `work`, and a transient one after [`SILENCE`] or after a change of the primary.
pub async fn with_deadline<T, E: From<sqlx::Error>>(
    doing: &str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    within(SILENCE, doing, work).await
}

/// [`with_deadline`] for work of which a single statement may take longer than others may.
///
/// # Errors
/// Those of `work`, and a transient one after `limit` or after a change of the primary.
pub async fn within<T, E: From<sqlx::Error>>(
    limit: Duration,
    doing: &str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    // Boxed, because what is waited for may be large, and each layer around it would hold it once more.
    let timed = tokio::time::timeout(limit, Box::pin(work));
    unless_changed(async { timed.await.unwrap_or_else(|_| Err(timed_out(doing).into())) }).await
}

/// The transient error of what took too long.
pub fn timed_out(doing: &str) -> sqlx::Error {
    too_long(format!("{doing} took too long"))
}

/// The same, where it is known why.
pub fn timed_out_because(doing: &str, why: &str) -> sqlx::Error {
    too_long(format!("{doing} took too long: {why}"))
}

fn too_long(said: String) -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, said))
}
