//! `fleet leases`: who has taken what on.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use workers::admin::locks::Leases;

use super::out;
use super::table::{Table, numbers, or_dash, words};
use crate::client;

#[derive(Debug, Args)]
pub struct Options {
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: client::AdminApi,
}

pub async fn run(options: Options) -> Result<ExitCode> {
    let leases: Leases = options.api.get("/admin/v1/leases", &()).await?;
    if options.json {
        out::json(&leases)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new([
        words("RELAY OF", 20),
        words("HELD", 4),
        words("UNTIL", 20),
        numbers("PUBLISHED", 10),
        words("MOVED", 20),
        words("BY", 36),
    ]);
    for lease in &leases.relays {
        table.row(&[
            lease.topic.clone(),
            if lease.held { "yes" } else { "NO" }.to_owned(),
            or_dash(lease.until.map(|until| until.format("%FT%TZ"))),
            lease.position.to_string(),
            lease.moved_at.format("%FT%TZ").to_string(),
            or_dash(lease.holder),
        ])?;
    }
    if table.is_empty() {
        out::line("no relay has ever been at work")?;
    }
    out::line("")?;
    let mut table = Table::new([words("READ MODEL", 20), numbers("VERSION", 7), words("WORKER LAST SEEN", 20)]);
    for keeper in &leases.keepers {
        table.row(&[
            keeper.projection.clone(),
            keeper.version.to_string(),
            keeper.seen_at.format("%FT%TZ").to_string(),
        ])?;
    }
    if table.is_empty() {
        out::line("no worker has ever been at work")?;
    }
    out::line(format!("\nas of {}", leases.observed_at.format("%FT%TZ")))?;
    Ok(ExitCode::SUCCESS)
}
