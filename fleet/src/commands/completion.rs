//! `fleet completion`: what a shell needs to complete this command line.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Command, ValueEnum};
use clap_complete::Shell;

use super::out;

#[derive(Debug, Args)]
pub struct Options {
    /// Whose; put what is written where the shell looks for it, or read it in: source <(fleet completion bash).
    shell: Known,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Known {
    Bash,
    Zsh,
    Fish,
}

/// # Errors
/// Standard output cannot be written.
pub fn run(mut command: Command, options: &Options) -> Result<ExitCode> {
    let shell = match options.shell {
        Known::Bash => Shell::Bash,
        Known::Zsh => Shell::Zsh,
        Known::Fish => Shell::Fish,
    };
    // The shell completes what is typed, which is the name of the file.
    let called = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&called).file_name().and_then(|name| name.to_str()).unwrap_or("fleet").to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    out::text("", &String::from_utf8(script).context("the script is not text")?)?;
    Ok(ExitCode::SUCCESS)
}
