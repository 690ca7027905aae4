//! How the fleet reaches its database.

use std::time::Duration;

use log::LevelFilter;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

/// Options of every connection of the fleet. What a session is set to beyond them, [`Session`](crate::session::Session)
/// says in a statement: a pooler such as PgBouncer refuses settings that come with the connection.
///
/// # Errors
/// The URL is not one of Postgres.
pub fn options(url: &str) -> sqlx::Result<PgConnectOptions> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(sqlx::Error::Configuration("it must begin with postgres://".into()));
    }
    let options: PgConnectOptions = url.parse()?;
    Ok(beside(options.application_name("fleet")))
}

/// The same for a program that has options of its own: where the database is, who one is, and by which name.
pub fn beside(options: PgConnectOptions) -> PgConnectOptions {
    // Whoever waits for one says what it was at, and not with all of its text.
    let options = options.log_slow_statements(LevelFilter::Debug, Duration::from_secs(5));
    // PgBouncer does not know it, and what Postgres does by default is as exact.
    options.extra_float_digits(None)
}
