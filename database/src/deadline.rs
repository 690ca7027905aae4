//! How long the database may be silent.

use std::future::Future;
use std::time::Duration;

/// How long a piece of work may take that the server limits to a minute a statement. Whoever hears nothing for so long has
/// lost the connection without being told: a firewall or a proxy forgot it, a machine lost its power.
pub const SILENCE: Duration = Duration::from_secs(150);

/// Gives up on a database that has fallen silent. What was committed is kept; the rest is for the caller to try again.
///
/// # Errors
/// Those of `work`, and a transient one after [`SILENCE`].
pub async fn heard<T, E: From<sqlx::Error>>(doing: &str, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    tokio::time::timeout(SILENCE, work).await.unwrap_or_else(|_| Err(timed_out(doing).into()))
}

/// The transient error of what took too long.
pub fn timed_out(doing: &str) -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, format!("{doing} took too long")))
}
