//! `fleet token NAME`: a new token, for a fleet whose callers have no account with Google.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use identity::Tokens;
use serde_json::json;

use super::out;
use crate::exit::Exit;

#[derive(Debug, Args)]
pub struct Options {
    /// Whose it is: the name that roles are given to, and that the audit log has.
    name: String,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    let minted = Tokens::mint(&options.name).map_err(|why| Exit::Usage.because(why))?;
    if options.json {
        out::json(&json!({"name": options.name, "token": minted.token, "line": minted.line}))?;
    } else {
        out::line(format!(
            "token, for whoever is to show it (--token-file); it is not shown again:\n{}",
            minted.token
        ))?;
        out::line(format!("line, for the file that --auth tokens:FILE names:\n{}", minted.line))?;
    }
    Ok(ExitCode::SUCCESS)
}
