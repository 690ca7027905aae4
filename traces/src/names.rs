//! All names of spans and of what is said of them: those of OpenTelemetry's conventions, of which the ones for messages are
//! still being worked on, so that this is the place to change them; and the fleet's own, which begin with `fleet.`.
//!
//! Source: <https://opentelemetry.io/docs/specs/semconv/>, version 1.45.

use std::borrow::Cow;

use events::{Payload, Recorded};
use opentelemetry::KeyValue;

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

/// Whether a request asks for a change. Its trace is always kept: there are few, and each is asked about.
pub const CHANGES: &str = "fleet.request.changes";

/// The status of an answer of HTTP.
pub const HTTP_STATUS: &str = "http.response.status_code";

/// Which part of a generation.
pub const PART: &str = "fleet.projection.part";

/// Several appends in one commit.
pub const APPEND_BATCH: &str = "append batch";

/// An append's part of that.
pub const WRITE: &str = "write";

/// Several events in one transaction.
pub const APPLY_BATCH: &str = "apply batch";

/// A request to the admin API, by its route and not by its path.
pub fn request(method: &str, route: &str) -> Cow<'static, str> {
    format!("{method} {route}").into()
}

/// What is said of a request.
pub fn of_request(method: &str, route: &str, changes: bool) -> Vec<KeyValue> {
    vec![
        KeyValue::new("http.request.method", method.to_owned()),
        KeyValue::new("http.route", route.to_owned()),
        KeyValue::new(CHANGES, changes),
    ]
}

/// One transaction of a builder.
pub fn build(projection: &str) -> Cow<'static, str> {
    format!("build {projection}").into()
}

/// A generation takes the place of another.
pub fn exchange(kind: &str, projection: &str) -> Cow<'static, str> {
    format!("{kind} {projection}").into()
}

/// What is said of work on a generation.
pub fn of_generation(projection: &'static str, generation: i32) -> Vec<KeyValue> {
    vec![KeyValue::new(PROJECTION, projection), KeyValue::new(GENERATION, i64::from(generation))]
}

/// A call of the event store.
pub fn call(method: &str) -> String {
    format!("fleet.eventstore.v1.EventStore/{method}")
}

/// What is said of a call.
pub fn of_call(method: &'static str) -> Vec<KeyValue> {
    vec![
        KeyValue::new("rpc.system", "grpc"),
        KeyValue::new("rpc.service", "fleet.eventstore.v1.EventStore"),
        KeyValue::new("rpc.method", method),
    ]
}

/// A message that is given to the bus.
pub fn send(topic: &str) -> Cow<'static, str> {
    format!("send {topic}").into()
}

/// A message that came from it.
pub fn receive(topic: &str) -> Cow<'static, str> {
    format!("receive {topic}").into()
}

/// An event that a read model takes in.
pub fn apply(projection: &str) -> Cow<'static, str> {
    format!("apply {projection}").into()
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

/// What is said of an event: never what it says.
pub fn of_event(event: &Recorded<Payload>) -> [KeyValue; 6] {
    [
        KeyValue::new(EVENT_ID, event.event_id.to_string()),
        KeyValue::new(EVENT_TYPE, event.data.event_type.clone()),
        KeyValue::new(EVENT_VERSION, i64::from(event.version.0)),
        KeyValue::new(POSITION, event.position.0),
        KeyValue::new(AGGREGATE_ID, event.aggregate_id.to_string()),
        KeyValue::new(AGGREGATE_TYPE, event.data.aggregate_type.clone()),
    ]
}
