//! What Postgres says, sorted: who is to blame and whether to try again.

use std::borrow::Cow;

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

fn code(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error().and_then(|error| error.code())
}
