//! What Postgres says, sorted: who is to blame and whether to try again.

use std::borrow::Cow;
use std::future::Future;
use std::time::Duration;

use log::LevelFilter;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};

/// Options of every connection of the fleet: times in UTC, and no statement that hangs for ever.
///
/// # Errors
/// The URL is not one of Postgres.
pub fn options(url: &str) -> sqlx::Result<PgConnectOptions> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(sqlx::Error::Configuration("it must begin with postgres://".into()));
    }
    let options: PgConnectOptions = url.parse()?;
    let options = options.log_slow_statements(LevelFilter::Warn, Duration::from_secs(5));
    Ok(options.application_name("fleet").options([
        ("TimeZone", "UTC"),
        ("statement_timeout", "60s"),
        ("lock_timeout", "30s"),
        ("idle_in_transaction_session_timeout", "60s"),
        // Whoever gives up on this side only drops the connection: a cancelled call, a request out of time. The server
        // must notice and cancel, or it goes on with work, and with locks, for nobody.
        ("client_connection_check_interval", "2s"),
    ]))
}

/// Settings with which plans are made once and kept, and always go from the rows in hand to the tables by index. For
/// connections that send the same few statements for ever. See docs/adr/0012.
pub const PLANS_BY_KEY: [(&str, &str); 5] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

/// The data is to blame, and will be however often it is tried: data exceptions (22), constraints (23, 44), rows touched
/// twice (21), limits (54), errors raised on purpose (P0). Other errors that are not transient (a missing table, a
/// missing privilege) blame the installation, and data must not pay for them.
pub fn blames_data(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| matches!(code.get(..2), Some("21" | "22" | "23" | "44" | "54" | "P0")))
}

pub fn is_unique_violation(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.is_unique_violation())
}

/// Another try may succeed, without anybody changing anything: connections, serialization, deadlocks, resources,
/// shutdowns, time limits.
pub fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(_) => code(error).is_some_and(|code| {
            matches!(code.get(..2), Some("08" | "40" | "53" | "57" | "58")) || code == "55P03" || code == "25P03"
        }),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// The error in one line, without the values of the statement.
pub fn describe(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => match code(error) {
            Some(code) => format!("{} (SQLSTATE {code})", database.message()),
            None => database.message().to_owned(),
        },
        other => other.to_string(),
    }
}

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

/// Refuses a standby: what it shows may be old, and who decides on what is old decides wrongly.
///
/// # Errors
/// It is one, or it does not answer.
pub async fn refuse_standby(connection: &mut PgConnection) -> sqlx::Result<()> {
    let standby: bool = sqlx::query_scalar("select pg_is_in_recovery()").fetch_one(connection).await?;
    if standby { Err(sqlx::Error::Configuration("this Postgres is a standby: use the primary".into())) } else { Ok(()) }
}

/// Whether a connection that comes back to its pool still answers. The pool itself would wait for ever for that.
///
/// # Errors
/// It does not, or not in time.
pub async fn answers(connection: &mut PgConnection) -> sqlx::Result<bool> {
    const LIMIT: Duration = Duration::from_secs(10);
    let answered = tokio::time::timeout(LIMIT, connection.ping()).await;
    answered.unwrap_or_else(|_| Err(timed_out("a connection"))).map(|()| true)
}

pub(crate) fn timed_out(doing: &str) -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, format!("{doing} took too long")))
}

fn code(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error().and_then(|error| error.code())
}
