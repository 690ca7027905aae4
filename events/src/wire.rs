//! The Pub/Sub message: a [`Recorded`] event as JSON data and string attributes.
//!
//! The data is authoritative; the attributes exist for filters, traces and people. What the fleet publishes has all
//! of them, what others publish may have two (`event_type`, `aggregate_id`).

use std::borrow::Cow;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{AggregateId, EventId, Metadata, Payload, Position, Recorded, Version};

/// The attribute in which Google's own clients carry the W3C trace context.
pub const TRACEPARENT: &str = "googclient_traceparent";

/// The message data.
#[derive(Debug, Serialize, Deserialize)]
pub struct Event<'a> {
    /// Unique in the store.
    pub event_id: EventId,
    /// The aggregate that it happened to.
    pub aggregate_id: AggregateId,
    /// What kind of thing that is.
    #[serde(borrow)]
    pub aggregate_type: Cow<'a, str>,
    /// What happened, by its name.
    #[serde(borrow)]
    pub event_type: Cow<'a, str>,
    /// Its place among the events of the aggregate.
    pub event_version: Version,
    /// A JSON object, as it was appended.
    #[serde(borrow)]
    pub event_data: &'a RawValue,
    /// What is said about it besides.
    pub metadata: Cow<'a, Metadata>,
    /// RFC 3339, in UTC.
    #[serde(with = "rfc3339")]
    pub occurred_at: DateTime<Utc>,
    /// Absent when the publisher is not our relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
}

/// What the fleet needs to know of a message before it asks the store; everything else may be wrong or missing.
#[derive(Debug, Deserialize)]
pub struct Identity {
    /// The event that the store is asked for.
    pub event_id: EventId,
    /// Its aggregate, if the message says.
    #[serde(default)]
    pub aggregate_id: Option<AggregateId>,
}

/// A message cannot be read as an event.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no text at all.
    #[error("the data is not UTF-8 (valid up to byte {0})")]
    NotUtf8(usize),
    /// It is text, and not an event as JSON; what does not fit, without the values.
    #[error("the data is not an event: {0}")]
    NotAnEvent(String),
}

/// Data and attributes of the message for `event`. Its attributes are within Pub/Sub's limits (a value has at most 1,024
/// bytes) whatever the event holds: names have at most 100 characters, the others are ids, numbers, and a trace.
pub fn encode(event: &Recorded<Payload>) -> (Vec<u8>, Vec<(&'static str, String)>) {
    let data = Event {
        event_id: event.event_id,
        aggregate_id: event.aggregate_id,
        aggregate_type: Cow::Borrowed(&event.data.aggregate_type),
        event_type: Cow::Borrowed(&event.data.event_type),
        event_version: event.version,
        event_data: &event.data.event_data,
        metadata: Cow::Borrowed(&event.data.metadata),
        occurred_at: event.occurred_at,
        position: Some(event.position),
    };
    let data = serde_json::to_vec(&data).expect("an event holds only strings, numbers and JSON that was read as JSON");
    let mut attributes = vec![
        ("event_type", event.data.event_type.clone()),
        ("aggregate_id", event.aggregate_id.to_string()),
        ("aggregate_type", event.data.aggregate_type.clone()),
        ("event_id", event.event_id.to_string()),
        ("event_version", event.version.to_string()),
        ("position", event.position.to_string()),
        ("schema_version", event.data.metadata.schema_version().to_string()),
    ];
    if let Some(trace) = event.data.metadata.trace() {
        attributes.push((TRACEPARENT, trace.to_string()));
    }
    (data, attributes)
}

/// Which event a message speaks of.
pub fn identify(data: &[u8]) -> Result<Identity, Error> {
    read(data)
}

/// The whole event, as somebody else published it.
pub fn decode(data: &[u8]) -> Result<Event<'_>, Error> {
    read(data)
}

fn read<'a, T: Deserialize<'a>>(data: &'a [u8]) -> Result<T, Error> {
    let text = std::str::from_utf8(data).map_err(|error| Error::NotUtf8(error.valid_up_to()))?;
    if text.starts_with('\u{feff}') {
        return Err(Error::NotAnEvent("begins with a byte order mark (U+FEFF)".to_owned()));
    }
    // An array could be read, too, by place instead of by name, and `Identity` has other places than `Event`.
    if !text.trim_start().starts_with('{') {
        return Err(Error::NotAnEvent("must be a JSON object".to_owned()));
    }
    serde_json::from_str(text).map_err(|error| Error::NotAnEvent(crate::decode::without_values(&error.to_string())))
}

/// RFC 3339 in UTC with as many fractional digits as the time has, up to the microseconds that the store keeps.
mod rfc3339 {
    use super::{DateTime, SecondsFormat, Utc};
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
        DateTime::<Utc>::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_without_event_id_is_an_error_that_says_so() {
        let error = identify(br#"{"aggregate_id":"ef005975-efd3-473c-b818-972640025d09"}"#).expect_err("no event_id");
        assert!(error.to_string().contains("missing field `event_id`"), "{error}");
    }

    #[test]
    fn a_message_that_is_not_utf8_is_an_error_that_says_where() {
        assert!(matches!(identify(b"{\"a\":\"\xff\"}"), Err(Error::NotUtf8(6))));
    }

    #[test]
    fn an_event_without_its_names_is_none() {
        let event = r#" ["25b08957-4beb-4caa-a8ea-e86e943080dd","ef005975-efd3-473c-b818-972640025d09","Order","OrderCancelled",
            1,{},{},"2026-01-05T06:34:32.379Z",3]"#;
        let error = decode(event.as_bytes()).expect_err("an array").to_string();
        assert_eq!(error, "the data is not an event: must be a JSON object");
        assert_eq!(identify(event.as_bytes()).expect_err("an array").to_string(), error);
    }

    #[test]
    fn what_is_no_trace_is_no_attribute() {
        for wrong in ["t".repeat(1025).into(), "00-1-2-01".into(), 7.into(), serde_json::json!({"a": TRACE})] {
            let mut event = recorded();
            event.data.metadata = Metadata::from([("traceparent", wrong)]);
            let (_, attributes) = encode(&event);
            assert!(attributes.iter().all(|(name, _)| *name != TRACEPARENT), "{attributes:?}");
        }
    }

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn recorded() -> Recorded<Payload> {
        Recorded {
            event_id: EventId::generate(),
            aggregate_id: AggregateId(uuid::Uuid::now_v7()),
            version: Version(3),
            position: Position(7),
            occurred_at: "2026-01-05T06:34:32.379Z".parse().expect("a time"),
            recorded_at: Utc::now(),
            data: Payload {
                aggregate_type: "Order".into(),
                event_type: "OrderPlaced".into(),
                event_data: RawValue::from_string(r#"{"note":"by post"}"#.into()).expect("JSON"),
                metadata: Metadata::from([("schema_version", 2.into()), ("traceparent", TRACE.into())]),
            },
        }
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same() {
        let recorded = recorded();
        let (data, attributes) = encode(&recorded);
        let event = decode(&data).expect("what we wrote");
        assert_eq!(event.event_id, recorded.event_id);
        assert_eq!(event.position, Some(Position(7)));
        assert_eq!(event.occurred_at, recorded.occurred_at);
        assert_eq!(event.event_data.get(), recorded.data.event_data.get());
        assert!(attributes.contains(&(TRACEPARENT, TRACE.to_owned())));
        assert!(attributes.contains(&("schema_version", "2".to_owned())));
        assert!(String::from_utf8(data).expect("UTF-8").contains(r#""occurred_at":"2026-01-05T06:34:32.379Z""#));
    }
}
