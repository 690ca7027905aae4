//! How much one answer may carry. Every statement in `read/` has the same three parts: what is wanted, how large each event
//! is, and which of them fit; here is what becomes of the rows.

use chrono::{DateTime, Utc};
use events::{AggregateId, EventId, Metadata, Payload, Position, Recorded, Version};
use serde_json::value::RawValue;
use sqlx::types::Json;

/// The most bytes of data and metadata in one answer, but always at least one event.
pub const BUDGET: i64 = 16 << 20;

/// The most bytes of data and metadata of an event that is given to readers. Above twice what an event may have as it is
/// sent, because spaces are printed that need not be sent: whatever was appended stays readable, unless its numbers
/// print far more than they say. The same number is in the migration that made `bytes_when_printed`.
pub const READABLE: i32 = 20_000_000;

/// An event that is in the store and can be given to nobody: all that is known of it without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    pub position: Position,
    pub event_id: EventId,
    pub aggregate_id: AggregateId,
    pub version: Version,
    pub aggregate_type: String,
    pub event_type: String,
    pub occurred_at: DateTime<Utc>,
    pub recorded_at: DateTime<Utc>,
    /// What it would print, or more.
    pub bytes: i32,
    pub reason: String,
}

/// The columns of every statement in `read/`.
pub(super) struct Row {
    pub position: i64,
    pub event_id: uuid::Uuid,
    pub aggregate_id: uuid::Uuid,
    pub aggregate_type: String,
    pub event_type: String,
    pub event_version: i32,
    pub event_data: Option<Json<Box<RawValue>>>,
    pub metadata: Option<Json<Metadata>>,
    pub occurred_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
    pub bytes: Option<i32>,
}

/// What a row says of its event.
pub(super) enum Found {
    Event(Recorded<Payload>),
    Unreadable(Unreadable),
    /// In the store, and not in this answer: it did not fit.
    Rest {
        event_id: EventId,
        position: Position,
        aggregate_id: AggregateId,
        version: Version,
    },
}

impl From<Row> for Found {
    fn from(row: Row) -> Self {
        if let (Some(event_data), Some(metadata)) = (row.event_data, row.metadata) {
            return Self::Event(Recorded {
                event_id: EventId(row.event_id),
                aggregate_id: AggregateId(row.aggregate_id),
                version: Version(row.event_version),
                position: Position(row.position),
                occurred_at: row.occurred_at,
                recorded_at: row.created_at,
                data: Payload {
                    aggregate_type: row.aggregate_type,
                    event_type: row.event_type,
                    event_data: event_data.0,
                    metadata: metadata.0,
                },
            });
        }
        match row.bytes {
            Some(bytes) if bytes > READABLE => Self::Unreadable(Unreadable {
                position: Position(row.position),
                event_id: EventId(row.event_id),
                aggregate_id: AggregateId(row.aggregate_id),
                version: Version(row.event_version),
                aggregate_type: row.aggregate_type,
                event_type: row.event_type,
                occurred_at: row.occurred_at,
                recorded_at: row.created_at,
                bytes,
                reason: format!("it has {bytes} bytes or more when it is read; at most {READABLE}"),
            }),
            _ => Self::Rest {
                event_id: EventId(row.event_id),
                position: Position(row.position),
                aggregate_id: AggregateId(row.aggregate_id),
                version: Version(row.event_version),
            },
        }
    }
}
