//! Loads the sample history at the first start.

use std::fs;
use std::io::Cursor;

use anyhow::{Context, Result};
use events::{EventId, Position};
use indicatif::ProgressBar;
use local_servers::DataDir;
use sqlx::PgPool;
use uuid::Uuid;

use crate::client;
use crate::commands::import;

/// In the binary, so that it needs no file beside it.
static HISTORY: &[u8] = include_bytes!("../../sample/history.ndjson.gz");

/// The first event of the sample: a store that has it, has the sample or the beginning of it.
const FIRST: EventId = EventId(Uuid::from_u128(0x25b0_8957_4beb_4caa_a8ea_e86e_9430_80dd));

/// Says that the sample was loaded to its end.
const DONE: &str = "sample.loaded";

/// Loads the sample into an empty store, or the rest of it into a store where loading was interrupted. A store with a
/// history of its own is left alone.
pub async fn load_once(pool: &PgPool, data_dir: &DataDir, grpc: &str) -> Result<()> {
    let done = data_dir.path().join(DONE);
    let head = event_store::read::head(pool).await.context("looking at the store")?;
    if head > Position::START {
        let begun = !event_store::read::by_id(pool, &[FIRST]).await.context("looking at the store")?.events.is_empty();
        if !begun || done.exists() {
            return Ok(());
        }
    }
    let progress = import::bar(Some(HISTORY.len() as u64));
    if progress.is_hidden() {
        println!("sample    loading the sample history");
    }
    let summary = import::import(&client::EventStore::at(grpc), Cursor::new(HISTORY), &progress)
        .await
        .context("loading the sample history")?;
    ProgressBar::finish_and_clear(&progress);
    println!("sample    {} events loaded", summary.events);
    fs::write(&done, b"").with_context(|| format!("writing {}", done.display()))
}
