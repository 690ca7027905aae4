//! The sample history, as appends.

use std::io::{BufRead, BufReader};

use anyhow::{Context, Result};
use event_store::append::Append;
use event_store::validate::printed;
use events::{AppendLine, EventId, NewEvent};
use flate2::read::GzDecoder;

static HISTORY: &[u8] = include_bytes!("../../projections/sample/history.ndjson.gz");

pub fn appends() -> Result<Vec<Append>> {
    BufReader::new(GzDecoder::new(HISTORY)).lines().map(|line| append(&line?)).collect()
}

fn printed_bytes(event: &events::EventLine) -> Option<usize> {
    Some(printed::bytes(event.event_data.get()).ok()? + printed::bytes(event.metadata.get()).ok()?)
}

fn append(line: &str) -> Result<Append> {
    let line: AppendLine = serde_json::from_str(line).context("reading the sample history")?;
    let event = |event: events::EventLine| NewEvent {
        bytes: printed_bytes(&event).unwrap_or(usize::MAX),
        event_id: event.event_id.unwrap_or_else(EventId::generate),
        event_type: event.event_type,
        event_data: Box::<str>::from(event.event_data).into(),
        metadata: Box::<str>::from(event.metadata).into(),
        occurred_at: event.occurred_at,
    };
    Ok(Append {
        aggregate_id: line.aggregate_id,
        aggregate_type: line.aggregate_type,
        expected_version: line.expected_version,
        idempotency_key: None,
        events: line.events.into_iter().map(event).collect(),
        made_ids: false,
        traceparent: None,
        digest: [0; 32],
    })
}
