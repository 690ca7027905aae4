//! `fleet healthcheck`: is the role on this machine ready? For container health checks in images without a shell.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use crate::client;
use crate::exit::Exit;

/// A role answers within 2 s whatever becomes of the database.
const PATIENCE: Duration = Duration::from_millis(2800);

#[derive(Debug, Args)]
pub struct Options {
    /// host:port (or URL) of the role's HTTP.
    #[arg(long, env = "FLEET_HTTP", default_value = client::HTTP)]
    pub http: String,
}

pub async fn run(options: Options) -> Result<ExitCode> {
    let url = format!("{}/readyz", client::base(&options.http));
    let client = reqwest::Client::builder().timeout(PATIENCE).build().context("building the HTTP client")?;
    let response = match client.get(&url).send().await {
        Ok(response) => response,
        Err(error) if error.is_timeout() && !error.is_connect() => {
            return Err(Exit::Unhealthy.because(format!("{url} has not answered within {} s", PATIENCE.as_secs_f32())));
        }
        Err(error) => return Err(Exit::Unreachable.because(format!("asking {url}: {}", client::innermost(&error)))),
    };
    let status = response.status();
    if !status.is_success() {
        let body = client::body(response).await.unwrap_or_default();
        let why = format!("{url} answers {status}: {}", String::from_utf8_lossy(&body).trim());
        return Err(Exit::Unhealthy.because(why));
    }
    Ok(ExitCode::SUCCESS)
}
