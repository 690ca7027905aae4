//! Loads the sample history at the first start.

use std::fs;
use std::io::{BufRead, BufReader, Cursor, Read};

use anyhow::{Context, Result};
use events::{AppendLine, EventId, Position};
use flate2::read::MultiGzDecoder;
use indicatif::ProgressBar;
use local_servers::DataDir;
use sqlx::PgPool;

use crate::client;
use crate::commands::{import, out};

/// Says that the sample was loaded to its end.
pub const DONE: &str = "sample.loaded";

/// Loads the sample into an empty store, or the rest of it into a store where loading was interrupted. A store with a
/// history of its own is left alone.
pub async fn load_once(history: &'static [u8], pool: &PgPool, data_dir: &DataDir, grpc: &str) -> Result<()> {
    let done = data_dir.path().join(DONE);
    let head = event_store::read::head(pool).await.context("looking at the store")?;
    if head > Position::START {
        // A store that has the first event has the sample, or the beginning of it.
        let first = first_event(history)?;
        let begun = !event_store::read::by_id(pool, &[first]).await.context("looking at the store")?.events.is_empty();
        if !begun || done.exists() {
            return Ok(());
        }
    }
    let progress = import::bar(Some(history.len() as u64));
    if progress.is_hidden() {
        out::line("sample    loading the sample history")?;
    }
    let summary = import::import(&client::EventStore::at(grpc), Cursor::new(history), &progress)
        .await
        .context("loading the sample history")?;
    ProgressBar::finish_and_clear(&progress);
    out::line(format!("sample    {} events loaded", summary.events))?;
    fs::write(&done, b"").with_context(|| format!("writing {}", done.display()))
}

fn first_event(history: &[u8]) -> Result<EventId> {
    let compressed = history.starts_with(&[0x1f, 0x8b]);
    let text: Box<dyn Read + '_> = if compressed { Box::new(MultiGzDecoder::new(history)) } else { Box::new(history) };
    let mut line = String::new();
    BufReader::new(text).read_line(&mut line).context("reading the sample history")?;
    let line: AppendLine = serde_json::from_str(&line).context("reading the first line of the sample history")?;
    line.events
        .first()
        .and_then(|event| event.event_id)
        .context("the sample history begins with an event without an id")
}
