//! The program: parse, run, and say in one line what went wrong.

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    match fleet::cli::Cli::parse().run().await {
        Ok(code) => code,
        Err(error) if error.is::<fleet::commands::out::Closed>() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fleet: {error:#}");
            ExitCode::FAILURE
        }
    }
}
