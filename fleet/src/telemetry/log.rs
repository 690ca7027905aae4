//! Logs. Never a payload, never a secret.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use tracing::Event;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::cloud::Cloud;
use super::storms::Storms;
use crate::commands::out;

/// How a process speaks of itself.
#[derive(Debug, Clone, Args)]
pub struct Log {
    /// What is logged: a level, or a list such as info,workers=debug.
    #[arg(long, env = "FLEET_LOG", default_value = "info")]
    pub log: String,
    /// text for people, json for programs: one object per line, in the terms of Cloud Logging.
    #[arg(long, env = "FLEET_LOG_FORMAT", value_enum, default_value_t = Format::Text)]
    pub log_format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

/// A panic is a line like others, however often it happens, and says where. What it says may have somebody's data in it: that
/// stands in the dead letter, or in why a part has ended. Whoever asks for backtraces gets all of it.
fn log_panics() {
    if std::env::var_os("RUST_BACKTRACE").is_some() {
        return;
    }
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(at, "code panicked: what it was at says what became of it; RUST_BACKTRACE=1 shows all of it");
    }));
}

/// Begins to log, in the name of a role.
pub fn init(role: &str, log: &Log) -> Result<()> {
    // The pool says of each of its connections what the watch of the database says once, and Postgres notes what it does besides what
    // it was told to, unless somebody asks for it.
    let quiet = if log.log.contains("sqlx") { "" } else { ",sqlx_core::pool=off,sqlx::postgres::notice=warn" };
    let filter = EnvFilter::try_new(format!("{}{quiet}", log.log))
        .with_context(|| format!("FLEET_LOG: {:?} is not a log filter such as info or info,workers=debug", log.log))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Above)
        // If nobody reads standard error any more, there is nobody to complain to: complaining would panic.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal() && !refused(std::env::var_os("NO_COLOR")));
    let storms = Arc::new(Storms::default());
    match log.log_format {
        Format::Text => {
            let text = tracing_subscriber::fmt::format().with_target(false);
            subscriber.event_format(Measured { format: text, storms: storms.clone() }).init();
        }
        Format::Json => {
            let cloud = Cloud::of(role);
            subscriber.event_format(Measured { format: cloud, storms: storms.clone() }).init();
        }
    }
    Storms::tell_again_and_again(&storms);
    log_panics();
    Ok(())
}

/// Whether somebody wants no colours: <https://no-color.org>.
fn refused(no_color: Option<OsString>) -> bool {
    no_color.is_some_and(|value| !value.is_empty())
}

/// Standard error, above the lines that `fleet dev` keeps at the bottom of the terminal. What is written is whole lines.
struct Above;

impl Write for Above {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        out::above(|| io::stderr().lock().write_all(lines)).map(|()| lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Writes what is not said too often.
struct Measured<F> {
    format: F,
    storms: Arc<Storms>,
}

impl<S, N, F> FormatEvent<S, N> for Measured<F>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if self.storms.admits(event.metadata()) {
            return self.format.format_event(context, writer, event);
        }
        // Nothing is written of nothing.
        Ok(())
    }
}
