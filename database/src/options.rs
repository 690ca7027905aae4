//! How the fleet connects.

use std::time::Duration;

use log::LevelFilter;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

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
    ]))
}
