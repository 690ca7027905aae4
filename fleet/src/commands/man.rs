//! `fleet man`: the manual, a page for each command.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Command};

use super::out;

#[derive(Debug, Args)]
pub struct Options {
    /// The folder to write the pages to, which is made if it is not there: `man1` in a folder of MANPATH.
    folder: PathBuf,
}

/// # Errors
/// A page cannot be written.
pub fn run(command: Command, options: &Options) -> Result<ExitCode> {
    let folder = &options.folder;
    let writing = || format!("writing the manual to {}", folder.display());
    fs::create_dir_all(folder).with_context(writing)?;
    clap_mangen::generate_to(command, folder).with_context(writing)?;
    out::line(format!("a page for each command is in {}", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}
