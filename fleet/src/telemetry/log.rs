//! Logs. Never a payload, never a secret.

use std::io::IsTerminal;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// How a process speaks of itself.
#[derive(Debug, Clone, Args)]
pub struct Log {
    /// What is logged: a level, or a list such as info,workers=debug.
    #[arg(long, env = "FLEET_LOG", default_value = "info")]
    pub log: String,
    /// text for people, json for programs such as Cloud Logging.
    #[arg(long, env = "FLEET_LOG_FORMAT", value_enum, default_value_t = Format::Text)]
    pub log_format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

pub fn init(log: &Log) -> Result<()> {
    // The pool says of each of its connections what the watch of the database says once, unless somebody asks for it.
    let quiet = if log.log.contains("sqlx") { "" } else { ",sqlx_core::pool=off" };
    let filter = EnvFilter::try_new(format!("{}{quiet}", log.log))
        .with_context(|| format!("FLEET_LOG: {:?} is not a log filter such as info or info,workers=debug", log.log))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // If nobody reads standard error any more, there is nobody to complain to: complaining would panic.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    match log.log_format {
        Format::Text => subscriber.with_target(false).init(),
        Format::Json => subscriber.json().flatten_event(true).init(),
    }
    Ok(())
}
