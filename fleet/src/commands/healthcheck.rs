//! `fleet healthcheck`: is the role on this machine ready? For container health checks in images without a shell.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

#[derive(Debug, Args)]
pub struct Options {
    /// host:port (or URL) of the role's HTTP.
    #[arg(long, env = "FLEET_HTTP", default_value = crate::client::HTTP)]
    pub http: String,
}

pub async fn run(options: Options) -> Result<ExitCode> {
    let base = if options.http.contains("://") { options.http } else { format!("http://{}", options.http) };
    let url = format!("{}/readyz", base.trim_end_matches('/'));
    let client =
        reqwest::Client::builder().timeout(Duration::from_secs(2)).build().context("building the HTTP client")?;
    let response = client.get(&url).send().await.with_context(|| format!("asking {url}"))?;
    let status = response.status();
    if !status.is_success() {
        bail!("{url} answers {status}: {}", response.text().await.unwrap_or_default().trim());
    }
    Ok(ExitCode::SUCCESS)
}
