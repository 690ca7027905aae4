//! An event before and after it is appended.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{AggregateId, EventId, EventSet, Metadata, Position, Version, decode::DecodeError};

/// An event that somebody wants to append. It has no version and no position yet.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Unique in the store: the same id is never appended twice.
    pub event_id: EventId,
    /// 1 to 100 characters.
    pub event_type: String,
    /// A JSON object, as text.
    pub event_data: String,
    /// A JSON object, as text.
    pub metadata: String,
    /// When it happened, as its author says; to the microsecond.
    pub occurred_at: DateTime<Utc>,
    /// The most bytes that data and metadata have when they are read again.
    pub bytes: usize,
}

/// An event of the store: envelope plus `data`, which is a [`Payload`] on the way and an [`EventSet`] in a projection.
#[derive(Debug, Clone)]
pub struct Recorded<E> {
    /// The key by which duplicates are known.
    pub event_id: EventId,
    /// The aggregate that it happened to.
    pub aggregate_id: AggregateId,
    /// Its place among the events of the aggregate.
    pub version: Version,
    /// Its place among all events.
    pub position: Position,
    /// When it happened, as its author says; to the microsecond. It may be later than `recorded_at`.
    pub occurred_at: DateTime<Utc>,
    /// The database's clock at the append.
    pub recorded_at: DateTime<Utc>,
    /// What happened.
    pub data: E,
}

/// An event's data before decoding.
#[derive(Debug, Clone)]
pub struct Payload {
    /// What kind of thing it happened to; it decides the topic.
    pub aggregate_type: String,
    /// What happened, by its name; it decides how the data is read.
    pub event_type: String,
    /// A JSON object.
    pub event_data: Box<RawValue>,
    /// What is said about the event besides: the schema of its data, the trace of its call.
    pub metadata: Metadata,
}

impl Recorded<Payload> {
    /// The same event in the newest shape of the set `E`; `None` if the set does not know its type.
    ///
    /// # Errors
    /// The type is known, and the data does not fit it.
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
    /// The aggregate whose events these are.
    pub aggregate_id: AggregateId,
    /// 1 to 100 characters.
    pub aggregate_type: String,
    /// The version that the aggregate must be at; absent: whichever it is at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_version: Option<Version>,
    /// Under a key, a request that was answered is not done a second time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// In their order; all or none.
    pub events: Vec<EventLine>,
}

/// One event of an [`AppendLine`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventLine {
    /// Absent: the store makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<EventId>,
    /// 1 to 100 characters.
    pub event_type: String,
    /// A JSON object.
    pub event_data: Box<RawValue>,
    /// A JSON object; absent: an empty one.
    #[serde(default = "nothing")]
    pub metadata: Box<RawValue>,
    /// RFC 3339; the store keeps microseconds.
    pub occurred_at: DateTime<Utc>,
}

fn nothing() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).expect("an object")
}
