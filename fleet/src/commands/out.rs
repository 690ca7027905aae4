//! Standard output, whose reader may have had enough (`| head`).

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use anyhow::{Context, Result};
use serde::Serialize;

/// Nobody reads on. The command has nothing left to do, and nothing to complain about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads standard output any more")]
pub struct Closed;

/// Writes a line.
///
/// # Errors
/// [`Closed`], or it cannot be written.
pub fn line(text: impl Display) -> Result<()> {
    said(writeln!(io::stdout().lock(), "{text}"))
}

/// Writes a value as JSON on one line, for programs.
///
/// # Errors
/// As [`line`].
pub fn json(value: &impl Serialize) -> Result<()> {
    line(serde_json::to_string(value).context("writing JSON")?)
}

/// Writes a value as JSON for people.
///
/// # Errors
/// As [`line`].
pub fn pretty(value: &impl Serialize) -> Result<()> {
    line(serde_json::to_string_pretty(value).context("writing JSON")?)
}

/// What came of writing to standard output.
///
/// # Errors
/// As [`line`].
pub fn said(written: io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
        written => written.context("writing to standard output"),
    }
}
