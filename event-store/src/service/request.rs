//! From the protocol's requests to ours: every field checked, all violations at once.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use events::{AggregateId, EventId, Position, TraceContext, Version};
use prost_types::Timestamp;
use tonic::metadata::MetadataMap;

use crate::append::{Append, EventAsSent, TRACE_BYTES};
use crate::proto::{self, AppendEventsRequest, ReadAllRequest, read_all_request};
use crate::read::Filter;
use crate::validate::{self, MAX_EVENT_BYTES, MAX_EVENTS, MAX_REQUEST_BYTES, Violation, Violations};

pub(super) fn append(request: AppendEventsRequest, trace: Option<TraceContext>) -> Result<Append, Vec<Violation>> {
    let mut violations = Violations::default();
    let aggregate_id = violations.check("aggregate_id", validate::uuid(&request.aggregate_id)).map(AggregateId);
    let aggregate_type = violations.check("aggregate_type", validate::name(&request.aggregate_type));
    let key = violations.check("idempotency_key", validate::idempotency_key(&request.idempotency_key));
    let expected_version = request.expected_version.map(Version);
    if expected_version.is_some_and(|version| version < Version::NONE) {
        violations.add("expected_version", "must be 0 (the aggregate must be new) or more");
    }
    match request.events.len() {
        0 => violations.add("events", "must not be empty"),
        1..=MAX_EVENTS => {}
        count => violations.add("events", format_args!("at most {MAX_EVENTS} at a time, not {count}")),
    }
    let bytes: usize = request.events.iter().map(|event| event.event_data.len() + event.metadata.len()).sum();
    if bytes > MAX_REQUEST_BYTES {
        violations.add("events", format_args!("{bytes} bytes together; at most {MAX_REQUEST_BYTES}"));
    }

    let mut ids = HashSet::new();
    let trace_bytes = trace.map_or(0, |_| TRACE_BYTES);
    let mut events = Vec::with_capacity(request.events.len());
    for (index, event) in request.events.iter().enumerate() {
        let event = as_sent(event, trace_bytes, |field| format!("events[{index}].{field}"), &mut violations);
        if let Some(id) = event.event_id
            && !ids.insert(id)
        {
            violations.add(format!("events[{index}].event_id"), format_args!("{id} is twice in this request"));
        }
        events.push(event);
    }
    let (Some(aggregate_id), Some(aggregate_type), Some(idempotency_key), true) =
        (aggregate_id, aggregate_type, key, violations.0.is_empty())
    else {
        return Err(violations.0);
    };

    let mut append = Append::new(aggregate_id, aggregate_type, expected_version, &events);
    append.idempotency_key = idempotency_key;
    append.trace = trace;
    Ok(append)
}

/// The event as the caller sent it, with `trace` bytes of the call's trace in what it prints.
fn as_sent<'a>(
    event: &'a proto::NewEvent,
    trace: usize,
    field: impl Fn(&str) -> String,
    violations: &mut Violations,
) -> EventAsSent<'a> {
    let event_id = event
        .event_id
        .as_deref()
        .filter(|id| !id.is_empty())
        .and_then(|id| violations.check(field("event_id"), validate::uuid(id)))
        .map(EventId);
    violations.check(field("event_type"), validate::name(&event.event_type));
    let metadata = if event.metadata.is_empty() { "{}" } else { &event.metadata };
    let sent = event.event_data.len() + metadata.len();
    let mut printed = 0;
    if sent > MAX_EVENT_BYTES {
        violations.add(field("event_data"), format_args!("{sent} bytes with the metadata; at most {MAX_EVENT_BYTES}"));
    } else {
        let data = violations.check(field("event_data"), validate::json_object(&event.event_data));
        let known =
            validate::json_object(metadata).and_then(|bytes| validate::schema_version(metadata).map(|()| bytes));
        let metadata = violations.check(field("metadata"), known);
        printed = data.unwrap_or_default() + metadata.unwrap_or_default() + trace;
        if printed > MAX_EVENT_BYTES {
            let problem =
                format_args!("has {printed} bytes with the metadata when it is read; at most {MAX_EVENT_BYTES}");
            violations.add(field("event_data"), problem);
        }
    }
    let occurred_at = event
        .occurred_at
        .and_then(|time| violations.check(field("occurred_at"), validate::occurred_at(time.seconds, time.nanos)));
    EventAsSent {
        event_id,
        event_type: &event.event_type,
        event_data: &event.event_data,
        metadata,
        occurred_at,
        bytes: printed,
    }
}

/// A JSON object that is not too large, as it is sent and as it is read.
pub(super) fn sized_object(text: &str) -> Result<(), String> {
    if text.len() > MAX_EVENT_BYTES {
        return Err(format!("{} bytes; at most {MAX_EVENT_BYTES}", text.len()));
    }
    match validate::json_object(text)? {
        0..=MAX_EVENT_BYTES => Ok(()),
        printed => Err(format!("has {printed} bytes when it is read; at most {MAX_EVENT_BYTES}")),
    }
}

/// Where reading begins.
pub(super) enum From {
    /// After this position.
    Position(Position),
    Time(DateTime<Utc>),
}

pub(super) fn selection(request: &ReadAllRequest) -> Result<(From, Filter), Vec<Violation>> {
    let mut violations = Violations::default();
    for (index, name) in request.aggregate_types.iter().enumerate() {
        violations.check(format!("aggregate_types[{index}]"), validate::name(name));
    }
    for (index, name) in request.event_types.iter().enumerate() {
        violations.check(format!("event_types[{index}]"), validate::name(name));
    }
    let from = match request.from {
        None => Some(From::Position(Position::START)),
        Some(read_all_request::From::FromPosition(first)) if first < 0 => {
            violations.add("from_position", "must not be negative");
            None
        }
        Some(read_all_request::From::FromPosition(first)) => Some(From::Position(Position((first - 1).max(0)))),
        Some(read_all_request::From::FromTime(time)) => {
            violations.check("from_time", validate::occurred_at(time.seconds, time.nanos)).map(From::Time)
        }
    };
    let filter = Filter {
        aggregate_types: request.aggregate_types.clone(),
        event_types: request.event_types.clone(),
        ..Filter::default()
    };
    match from {
        Some(from) if violations.0.is_empty() => Ok((from, filter)),
        _ => Err(violations.0),
    }
}

/// The W3C trace context of the call. A malformed one is ignored: traces must never fail an append.
pub(super) fn trace(metadata: &MetadataMap) -> Option<TraceContext> {
    TraceContext::parse(metadata.get("traceparent")?.to_str().ok()?)
}

pub fn timestamp(time: DateTime<Utc>) -> Timestamp {
    Timestamp { seconds: time.timestamp(), nanos: time.timestamp_subsec_nanos() as i32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_version_that_readers_would_take_for_another_is_refused() {
        let violations = |metadata: &str| {
            let event = proto::NewEvent {
                event_type: "OrderPlaced".into(),
                event_data: "{}".into(),
                metadata: metadata.into(),
                ..proto::NewEvent::default()
            };
            let request = AppendEventsRequest {
                aggregate_id: uuid::Uuid::now_v7().to_string(),
                aggregate_type: "Order".into(),
                events: vec![event],
                ..AppendEventsRequest::default()
            };
            append(request, None).map(drop).map_err(|violations| violations[0].problem.clone())
        };
        for good in ["", "{}", r#"{"schema_version": 2}"#, r#"{"who": "schema_version"}"#] {
            assert_eq!(violations(good), Ok(()), "{good}");
        }
        for wrong in ["\"2\"", "0", "-1", "1.5", "4294967296", "[2]", "{}"] {
            let said = violations(&format!(r#"{{"schema_version": {wrong}}}"#)).expect_err(wrong);
            assert_eq!(said, format!("schema_version must be a whole number from 1, and is {wrong}"));
        }
    }

    #[test]
    fn all_violations_are_named_at_once() {
        let event = proto::NewEvent {
            event_id: Some("x".into()),
            event_type: "e".repeat(101),
            event_data: "[]".into(),
            metadata: "{".into(),
            occurred_at: Some(Timestamp { seconds: i64::MAX, nanos: 0 }),
        };
        let request = AppendEventsRequest {
            aggregate_id: "y".into(),
            aggregate_type: String::new(),
            expected_version: Some(-1),
            idempotency_key: "k".repeat(201),
            events: vec![event],
        };
        let violations = append(request, None).expect_err("all of it is wrong");
        let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "aggregate_id",
                "aggregate_type",
                "idempotency_key",
                "expected_version",
                "events[0].event_id",
                "events[0].event_type",
                "events[0].event_data",
                "events[0].metadata",
                "events[0].occurred_at",
            ]
        );
    }
}
