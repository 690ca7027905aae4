//! What Postgres says, sorted: who is to blame and whether to try again.

use std::borrow::Cow;

use crate::primary::Primary;

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
/// shutdowns, time limits, and a server that refuses to be written, because it is no longer the primary.
pub fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(_) => code(error).is_some_and(|code| {
            matches!(code.get(..2), Some("08" | "40" | "53" | "57" | "58"))
                || matches!(&*code, "55P03" | "25P03" | "25006")
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

/// Tables or columns are missing: nobody ran the migrations of this version.
pub fn lacks_migrations(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| matches!(&*code, "42P01" | "42703" | "3F000"))
}

/// As [`describe`] says that Postgres gives no more connections: `too_many_connections`.
pub const FULL: &str = "SQLSTATE 53300";

/// What to do about it.
pub const MIGRATE: &str = "the database lacks tables of this version: run `fleet migrate`";

/// A statement names a schema that is not there.
pub fn lacks_schema(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code == "3F000")
}

/// A statement is no SQL, or names or mixes what is not there or does not go together.
pub fn is_misfit(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code.starts_with("42")) && !is_forbidden(error)
}

/// A statement took longer than it may (or somebody cancelled it). What waits for a lock too long says something else.
pub fn is_timeout(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code == "57014")
}

/// The user may not do this.
pub fn is_forbidden(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code == "42501")
}

/// It waited for a lock longer than it may.
pub fn is_lock_timeout(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code == "55P03")
}

/// A row cannot be given, however often it is asked for: it is beyond a limit of Postgres (54) or broken (XX001, XX002).
/// Which row it is, only less at a time can tell.
pub fn is_unreadable(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code.starts_with("54") || matches!(&*code, "XX001" | "XX002"))
}

/// Less at a time may go through: a statement took too long, the server is out of memory, or it has not been heard for too
/// long.
pub fn is_too_much(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::TimedOut,
        error => is_timeout(error) || code(error).is_some_and(|code| code == "53200"),
    }
}

/// The error in one line, without the values of the statement.
pub fn describe(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => match code(error) {
            Some(code) if lacks_migrations(error) => {
                format!("{} (SQLSTATE {code}); if it is the fleet's, run `fleet migrate`", database.message())
            }
            Some(code) => format!("{} (SQLSTATE {code})", database.message()),
            None => database.message().to_owned(),
        },
        // A pool that waited in vain does not say for what.
        sqlx::Error::PoolTimedOut => match Primary::of_this_process().and_then(|primary| primary.refusal()) {
            Some(reason) => reason,
            None => "all of the pool's connections are in use, or the database gives no more".to_owned(),
        },
        // What it is about, it says itself.
        sqlx::Error::Configuration(error) => error.to_string(),
        // The system's own errors without their numbers.
        sqlx::Error::Io(error) if error.get_ref().is_none() => error.kind().to_string(),
        sqlx::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

fn code(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error().and_then(|error| error.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_waited_in_vain_says_more_than_that() {
        assert!(describe(&sqlx::Error::PoolTimedOut).contains("in use"));
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert_eq!(describe(&sqlx::Error::Io(refused)), "connection refused");
    }
}
