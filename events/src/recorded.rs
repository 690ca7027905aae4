//! An event before and after it is appended.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{AggregateId, EventId, EventSet, Metadata, Position, Version, decode::DecodeError};

/// An event that somebody wants to append. It has no version and no position yet.
#[derive(Debug, Clone)]
pub struct NewEvent {
    pub event_id: EventId,
    pub event_type: String,
    /// A JSON object, as text.
    pub event_data: String,
    /// A JSON object, as text.
    pub metadata: String,
    pub occurred_at: DateTime<Utc>,
    /// The most bytes that data and metadata have when they are read again.
    pub bytes: usize,
}

/// An event of the store: envelope plus `data`, which is a [`Payload`] on the way and an [`EventSet`] in a projection.
#[derive(Debug, Clone)]
pub struct Recorded<E> {
    pub event_id: EventId,
    pub aggregate_id: AggregateId,
    pub version: Version,
    pub position: Position,
    pub occurred_at: DateTime<Utc>,
    /// The database's clock at the append.
    pub recorded_at: DateTime<Utc>,
    pub data: E,
}

/// An event's data before decoding.
#[derive(Debug, Clone)]
pub struct Payload {
    pub aggregate_type: String,
    pub event_type: String,
    pub event_data: Box<RawValue>,
    pub metadata: Metadata,
}

impl Recorded<Payload> {
    /// The same event in the newest shape of the set `E`; `None` if the set does not know its type.
    pub fn decode<E: EventSet>(&self) -> Result<Option<Recorded<E>>, DecodeError> {
        let data = E::decode(&self.data)?;
        Ok(data.map(|data| Recorded {
            event_id: self.event_id,
            aggregate_id: self.aggregate_id,
            version: self.version,
            position: self.position,
            occurred_at: self.occurred_at,
            recorded_at: self.recorded_at,
            data,
        }))
    }
}

/// One append, as the import and export files hold it: a line of JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AppendLine {
    pub aggregate_id: AggregateId,
    pub aggregate_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_version: Option<Version>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    pub events: Vec<EventLine>,
}

/// One event of an [`AppendLine`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventLine {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<EventId>,
    pub event_type: String,
    pub event_data: Box<RawValue>,
    pub metadata: Box<RawValue>,
    pub occurred_at: DateTime<Utc>,
}
