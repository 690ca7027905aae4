//! The sample history, as appends.

use std::io::{BufRead, BufReader};

use anyhow::{Context, Result};
use event_store::append::{Append, EventAsSent};
use event_store::validate::printed;
use events::{AppendLine, EventLine};
use flate2::read::GzDecoder;

static HISTORY: &[u8] = include_bytes!("../../projections/sample/history.ndjson.gz");

pub fn appends() -> Result<Vec<Append>> {
    BufReader::new(GzDecoder::new(HISTORY)).lines().map(|line| append(&line?)).collect()
}

fn append(line: &str) -> Result<Append> {
    let line: AppendLine = serde_json::from_str(line).context("reading the sample history")?;
    let events: Vec<_> = line.events.iter().map(as_sent).collect();
    Ok(Append::new(line.aggregate_id, line.aggregate_type, line.expected_version, &events))
}

fn as_sent(event: &EventLine) -> EventAsSent<'_> {
    let EventLine { event_id, event_type, event_data, metadata, occurred_at } = event;
    let (event_data, metadata) = (event_data.get(), metadata.get());
    let bytes =
        printed::bytes(event_data).unwrap_or(usize::MAX / 2) + printed::bytes(metadata).unwrap_or(usize::MAX / 2);
    EventAsSent { event_id: *event_id, event_type, event_data, metadata, occurred_at: Some(*occurred_at), bytes }
}
