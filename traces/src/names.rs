//! All names of spans and of what is said of them: those of OpenTelemetry's conventions, of which the ones for messages are
//! still being worked on, so that this is the place to change them; and the fleet's own, which begin with `fleet.`.
//!
//! Source: <https://opentelemetry.io/docs/specs/semconv/>, version 1.45.

use std::fmt;
use std::sync::Arc;

use events::{AggregateId, EventId, Payload, Position, Recorded, Version};
use opentelemetry::KeyValue;

/// What a span is called. It is written out by whoever exports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// As it stands.
    Plain(&'static str),
    /// What is done, and with what.
    Of(&'static str, &'static str),
    /// A method and the route of a request.
    Request(String, String),
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(name) => out.write_str(name),
            Self::Of(what, of) => write!(out, "{what} {of}"),
            Self::Request(method, route) => write!(out, "{method} {route}"),
        }
    }
}

/// Who makes the spans.
pub const SCOPE: &str = "fleet";

/// Which kind of failure it was.
pub const ERROR_TYPE: &str = "error.type";

/// A status of gRPC, as a number.
pub const RPC_STATUS: &str = "rpc.grpc.status_code";

/// The topic.
pub const DESTINATION: &str = "messaging.destination.name";

/// The bus's own id of a message.
pub const MESSAGE_ID: &str = "messaging.message.id";

/// How often the bus has delivered it.
pub const DELIVERY_ATTEMPT: &str = "messaging.gcp_pubsub.message.delivery_attempt";

/// How many a batch has.
pub const BATCH_EVENTS: &str = "fleet.batch.events";

/// Appends that are written together.
pub const BATCH_REQUESTS: &str = "fleet.batch.requests";

/// The id of an event.
pub const EVENT_ID: &str = "fleet.event.id";

/// Its name.
pub const EVENT_TYPE: &str = "fleet.event.type";

/// Its place among those of its aggregate.
pub const EVENT_VERSION: &str = "fleet.event.version";

/// Its place in the store.
pub const POSITION: &str = "fleet.event.position";

/// The id of an aggregate.
pub const AGGREGATE_ID: &str = "fleet.aggregate.id";

/// What kind of thing it is.
pub const AGGREGATE_TYPE: &str = "fleet.aggregate.type";

/// The read model.
pub const PROJECTION: &str = "fleet.projection.name";

/// Which of its generations.
pub const GENERATION: &str = "fleet.projection.generation";

/// On whose behalf events are applied, as in the metrics.
pub const MODE: &str = "fleet.apply.mode";

/// What became of an event, as in the metrics.
pub const RESULT: &str = "fleet.apply.result";

/// Whether a request asks for a change.
pub const CHANGES: &str = "fleet.request.changes";

/// The status of an answer of HTTP.
pub const HTTP_STATUS: &str = "http.response.status_code";

/// Which part of a generation.
pub const PART: &str = "fleet.projection.part";

/// Several appends in one commit.
pub const APPEND_BATCH: Name = Name::Plain("append batch");

/// Several events in one transaction.
pub const APPLY_BATCH: Name = Name::Plain("apply batch");

/// A request to the admin API, by its route and not by its path.
pub fn request(method: &str, route: &str) -> Name {
    Name::Request(method.to_owned(), route.to_owned())
}

/// What is said of a request.
pub fn of_request(method: String, route: String, changes: bool) -> Vec<KeyValue> {
    vec![
        KeyValue::new("http.request.method", method),
        KeyValue::new("http.route", route),
        KeyValue::new(CHANGES, changes),
    ]
}

/// One transaction of a builder.
pub fn build(projection: &'static str) -> Name {
    Name::Of("build", projection)
}

/// A generation takes the place of another.
pub fn exchange(kind: &'static str, projection: &'static str) -> Name {
    Name::Of(kind, projection)
}

/// What is said of work on a generation.
pub fn of_generation(projection: &'static str, generation: i32) -> Vec<KeyValue> {
    vec![KeyValue::new(PROJECTION, projection), KeyValue::new(GENERATION, i64::from(generation))]
}

/// An append that is a call.
pub const APPEND: Call = Call { method: "AppendEvents", name: "fleet.eventstore.v1.EventStore/AppendEvents" };

/// One of a stream.
pub const APPEND_IN_A_STREAM: Call =
    Call { method: "AppendEventStream", name: "fleet.eventstore.v1.EventStore/AppendEventStream" };

/// A call of the event store.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    method: &'static str,
    name: &'static str,
}

/// What its span is called.
pub fn call(call: Call) -> Name {
    Name::Plain(call.name)
}

/// What is said of a call.
pub fn of_call(call: Call) -> Vec<KeyValue> {
    vec![
        KeyValue::new("rpc.system", "grpc"),
        KeyValue::new("rpc.service", "fleet.eventstore.v1.EventStore"),
        KeyValue::new("rpc.method", call.method),
    ]
}

/// A message that is given to the bus.
pub fn send(topic: &'static str) -> Name {
    Name::Of("send", topic)
}

/// A message that came from it.
pub fn receive(topic: &'static str) -> Name {
    Name::Of("receive", topic)
}

/// An event that a read model takes in.
pub fn apply(projection: &'static str) -> Name {
    Name::Of("apply", projection)
}

/// What is said of a message: `operation` is `send` or `receive`.
pub fn of_message(operation: &'static str, topic: &'static str) -> [KeyValue; 4] {
    [
        KeyValue::new("messaging.system", "gcp_pubsub"),
        KeyValue::new("messaging.operation.name", operation),
        KeyValue::new("messaging.operation.type", operation),
        KeyValue::new(DESTINATION, topic),
    ]
}

/// Which event it is, and never what it says.
#[derive(Debug, Clone)]
pub struct Event {
    event_id: EventId,
    event_type: Arc<str>,
    version: Version,
    position: Position,
}

impl Event {
    /// This one.
    pub fn of(event: &Recorded<Payload>) -> Self {
        let event_type = Arc::from(&*event.data.event_type);
        Self { event_id: event.event_id, event_type, version: event.version, position: event.position }
    }

    /// What is said of it wherever it is.
    pub fn said(self) -> [KeyValue; 4] {
        [
            KeyValue::new(EVENT_ID, self.event_id.to_string()),
            KeyValue::new(EVENT_TYPE, self.event_type),
            KeyValue::new(EVENT_VERSION, i64::from(self.version.0)),
            KeyValue::new(POSITION, self.position.0),
        ]
    }
}

/// What is said once in the trace of an event: to whom it happened.
#[derive(Debug, Clone)]
pub struct Aggregate {
    aggregate_id: AggregateId,
    aggregate_type: Arc<str>,
}

impl Aggregate {
    /// The event's.
    pub fn of(event: &Recorded<Payload>) -> Self {
        Self { aggregate_id: event.aggregate_id, aggregate_type: Arc::from(&*event.data.aggregate_type) }
    }

    /// What is said of it.
    pub fn said(self) -> [KeyValue; 2] {
        [KeyValue::new(AGGREGATE_ID, self.aggregate_id.to_string()), KeyValue::new(AGGREGATE_TYPE, self.aggregate_type)]
    }
}
