//! `fleet audit`: who did what, and why.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use workers::admin::audit::{Listing, Page};

use super::out;
use super::table::{Table, words};
use crate::client;

#[derive(Debug, Args)]
pub struct Options {
    /// So many entries at most, the newest.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// As JSON, for programs; one entry a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: client::AdminApi,
}

pub async fn run(options: Options) -> Result<ExitCode> {
    let mut table =
        Table::new([words("AT", 19), words("BY", 12), words("DID", 20), words("TO", 36), words("REASON", 0)]);
    let (mut listing, mut left) = (Listing::default(), options.limit);
    while left > 0 {
        listing.limit = Some(left.min(100) as i64);
        let page: Page = options.api.get("/admin/v1/audit", &listing).await?;
        for entry in &page.entries {
            if options.json {
                out::json(entry)?;
            } else {
                let at = entry.at.format("%FT%T").to_string();
                let (actor, action) = (entry.actor.clone(), entry.action.clone());
                table.row(&[at, actor, action, entry.target.clone(), entry.reason.clone()])?;
            }
        }
        left -= page.entries.len().min(left);
        listing.before = page.next;
        if listing.before.is_none() {
            break;
        }
    }
    if table.is_empty() && !options.json {
        out::line("nobody has done anything")?;
    }
    Ok(ExitCode::SUCCESS)
}
