//! `fleet openapi`: the description of the admin API, as a running fleet serves it.

use std::process::ExitCode;

use anyhow::Result;

use super::out;

/// Needs nothing but the program.
///
/// # Errors
/// Standard output cannot be written.
pub fn run() -> Result<ExitCode> {
    out::text("", &workers::admin::openapi::text())?;
    Ok(ExitCode::SUCCESS)
}
