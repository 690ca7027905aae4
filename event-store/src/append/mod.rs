//! Append as group commit.
//!
//! Callers hand their requests to one writer task, which takes whatever is queued and writes it as one
//! statement, one commit. That keeps positions gapless and in commit order without a lock per append, and makes each
//! commit's flush pay for many appends (docs/adr/0002).

mod decide;
mod heads;
mod parts;
mod spans;
mod statements;
mod writer;

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Timelike, Utc};
use database::MIGRATE;
use events::{AggregateId, EventId, NewEvent, Position, TraceContext, Version};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};

pub use spans::WrittenIn;
pub use writer::Config;

use crate::Metrics;
use crate::tail::Head;

/// One append: events of one aggregate, all or none. Its parts are valid; [`crate::validate`] sees to that.
#[derive(Debug, Clone)]
pub struct Append {
    pub aggregate_id: AggregateId,
    pub aggregate_type: Arc<str>,
    pub expected_version: Option<Version>,
    pub idempotency_key: Option<String>,
    pub events: Vec<NewEvent>,
    /// Whether some of the event ids were made here rather than brought by the caller.
    made_ids: bool,
    /// The trace of the call, put into the metadata of events that bring none.
    pub trace: Option<TraceContext>,
    /// For the span of the call.
    pub written_in: WrittenIn,
    /// What the caller sent, for comparison under the same idempotency key.
    digest: [u8; 32],
}

/// What an event became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub event_id: EventId,
    pub version: Version,
    pub position: Position,
    /// It was in the store when its request was looked at: an earlier request had appended it, or an earlier try of this one.
    pub known: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("aggregate {aggregate_id} is at version {current}, not {expected}")]
    VersionConflict { aggregate_id: AggregateId, expected: Version, current: Version },
    /// One aggregate on two topics would be applied by neither.
    #[error("aggregate {aggregate_id} is of type {aggregate_type:?}, not {sent:?}: all its events have one type")]
    AnotherType { aggregate_id: AggregateId, aggregate_type: String, sent: String },
    #[error("idempotency key {0:?} was used for another request")]
    KeyReused(String),
    #[error("event {0} is already in the store")]
    EventExists(EventId),
    #[error("aggregate {aggregate_id} would pass the last version there can be")]
    VersionsExhausted { aggregate_id: AggregateId },
    /// Postgres refused the data that passed our own checks.
    #[error("Postgres refuses the data: {0}")]
    Refused(String),
    /// Nobody ran the migrations: no retry helps.
    #[error("{MIGRATE}")]
    NotMigrated,
    #[error("the database is away: {0}; retry, with an idempotency key it is safe")]
    Unavailable(String),
}

impl Error {
    /// All that [`reason`](Self::reason) may say.
    pub const REASONS: [&'static str; 8] = [
        "VERSION_CONFLICT",
        "ANOTHER_TYPE",
        "IDEMPOTENCY_KEY_REUSED",
        "EVENT_EXISTS",
        "VERSIONS_EXHAUSTED",
        "DATA_REFUSED",
        "NOT_MIGRATED",
        "UNAVAILABLE",
    ];

    /// The error's name in metrics and in gRPC error details.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::VersionConflict { .. } => "VERSION_CONFLICT",
            Self::AnotherType { .. } => "ANOTHER_TYPE",
            Self::KeyReused(_) => "IDEMPOTENCY_KEY_REUSED",
            Self::EventExists(_) => "EVENT_EXISTS",
            Self::VersionsExhausted { .. } => "VERSIONS_EXHAUSTED",
            Self::Refused(_) => "DATA_REFUSED",
            Self::NotMigrated => "NOT_MIGRATED",
            Self::Unavailable(_) => "UNAVAILABLE",
        }
    }
}

/// The way to the writer. Cheap to clone; the writer ends when the last one is gone and the queue is empty.
#[derive(Debug, Clone)]
pub struct Appender {
    queue: mpsc::Sender<Queued>,
}

/// A request in the writer's hands.
#[derive(Debug)]
struct Queued {
    append: Append,
    /// A commit with this request may have happened without our learning of it.
    attempted: bool,
    came: Instant,
    answer: oneshot::Sender<Result<Vec<Appended>, Error>>,
}

impl Appender {
    /// Starts the writer.
    pub fn start(config: Config, head: Head, metrics: Metrics) -> (Self, tokio::task::JoinHandle<()>) {
        let (queue, requests) = mpsc::channel(config.queue);
        let writer = tokio::spawn(writer::run(config, requests, head, metrics));
        (Self { queue }, writer)
    }

    pub async fn append(&self, append: Append) -> Result<Vec<Appended>, Error> {
        self.enqueue(append).await?.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Puts the request into the queue and returns the way to its answer. Requests are written in queue order.
    pub async fn enqueue(&self, append: Append) -> Result<oneshot::Receiver<Result<Vec<Appended>, Error>>, Error> {
        let (answer, result) = oneshot::channel();
        let queued = Queued { append, attempted: false, came: Instant::now(), answer };
        self.queue.send(queued).await.map_err(|_| stopped())?;
        Ok(result)
    }
}

fn stopped() -> Error {
    Error::Unavailable("this event store is shutting down".to_owned())
}

impl Append {
    /// A request as it was sent, under no key and with no trace. Events that bring no id or no time are given one.
    pub fn new(
        aggregate_id: AggregateId,
        aggregate_type: impl Into<Arc<str>>,
        expected_version: Option<Version>,
        events: &[EventAsSent<'_>],
    ) -> Self {
        let aggregate_type = aggregate_type.into();
        let now = Utc::now();
        let new = |event: &EventAsSent<'_>| NewEvent {
            event_id: event.event_id.unwrap_or_else(EventId::generate),
            event_type: event.event_type.to_owned(),
            event_data: event.event_data.to_owned(),
            metadata: event.metadata.to_owned(),
            occurred_at: to_micros(event.occurred_at.unwrap_or(now)),
            bytes: event.bytes,
        };
        Self {
            digest: digest(aggregate_id, &aggregate_type, expected_version, events),
            made_ids: events.iter().any(|event| event.event_id.is_none()),
            events: events.iter().map(new).collect(),
            aggregate_id,
            aggregate_type,
            expected_version,
            idempotency_key: None,
            trace: None,
            written_in: WrittenIn::default(),
        }
    }

    fn bytes(&self) -> usize {
        self.events.iter().map(|event| event.event_data.len() + event.metadata.len() + 200).sum()
    }
}

/// Digest of what was sent. Ids and times that the store makes up are not part of it, or no retry would ever be the same
/// request.
fn digest(
    aggregate_id: AggregateId,
    aggregate_type: &str,
    expected_version: Option<Version>,
    events: &[EventAsSent<'_>],
) -> [u8; 32] {
    let mut digest = Sha256::new();
    let mut field = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_le_bytes());
        digest.update(bytes);
    };
    field(aggregate_id.0.as_bytes());
    field(aggregate_type.as_bytes());
    field(&expected_version.map_or([0xff; 4], |version| version.0.to_le_bytes()));
    for event in events {
        field(event.event_id.as_ref().map_or(&[], |id| id.0.as_bytes()));
        field(event.event_type.as_bytes());
        field(event.event_data.as_bytes());
        field(event.metadata.as_bytes());
        let time = event.occurred_at.map_or(0, |time| time.timestamp_micros());
        field(&time.to_le_bytes());
    }
    digest.finalize().into()
}

/// An event as the caller sent it.
#[derive(Debug)]
pub struct EventAsSent<'a> {
    pub event_id: Option<EventId>,
    pub event_type: &'a str,
    pub event_data: &'a str,
    pub metadata: &'a str,
    pub occurred_at: Option<DateTime<Utc>>,
    /// The most bytes that its data and metadata print.
    pub bytes: usize,
}

/// The most bytes that the trace of a call adds to the metadata as they are read:
/// `"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", `.
pub const TRACE_BYTES: usize = 80;

/// The store keeps microseconds; what is finer is cut off here, so that what is answered and what is read agree.
pub fn to_micros(time: DateTime<Utc>) -> DateTime<Utc> {
    time.with_nanosecond(time.nanosecond() / 1000 * 1000).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use uuid::Uuid;

    /// What a caller can say, each of it changed alone, and all the ways in which the end of one field could be taken for the
    /// beginning of the next.
    fn requests() -> Vec<(&'static str, [u8; 32])> {
        let id = |id| AggregateId(Uuid::from_u128(id));
        let said = || EventAsSent {
            event_id: None,
            event_type: "Named",
            event_data: "{}",
            metadata: "{}",
            occurred_at: None,
            bytes: 0,
        };
        let event = |event: EventAsSent<'_>| digest(id(1), "Order", None, &[event]);
        let brought = Some(EventId(Uuid::nil()));
        let time = Some(chrono::DateTime::UNIX_EPOCH + chrono::Duration::seconds(1));
        vec![
            ("as it is", event(said())),
            ("aggregate id", digest(id(2), "Order", None, &[said()])),
            ("aggregate type", digest(id(1), "Orders", None, &[said()])),
            ("expected version", digest(id(1), "Order", Some(Version(0)), &[said()])),
            ("another expected version", digest(id(1), "Order", Some(Version(1)), &[said()])),
            ("event id", event(EventAsSent { event_id: brought, ..said() })),
            ("event type", event(EventAsSent { event_type: "Renamed", ..said() })),
            ("event data", event(EventAsSent { event_data: r#"{"a":1}"#, ..said() })),
            ("metadata", event(EventAsSent { metadata: r#"{"a":1}"#, ..said() })),
            ("time", event(EventAsSent { occurred_at: time, ..said() })),
            ("no event", digest(id(1), "Order", None, &[])),
            ("an event twice", digest(id(1), "Order", None, &[said(), said()])),
            ("type and data moved", event(EventAsSent { event_type: "Named{", event_data: "}", ..said() })),
            ("data and metadata moved", event(EventAsSent { event_data: "{}{", metadata: "}", ..said() })),
            ("all in the data", event(EventAsSent { event_data: "{}{}", metadata: "", ..said() })),
            ("all in the metadata", event(EventAsSent { event_data: "", metadata: "{}{}", ..said() })),
        ]
    }

    #[test]
    fn the_digest_of_a_request_is_of_every_field_that_its_caller_said() {
        let mut seen = BTreeMap::new();
        for (what, digest) in requests() {
            assert_eq!(seen.insert(digest, what), None, "{what} makes no difference");
        }
        assert_eq!(requests(), requests(), "the same is the same");
    }
}
