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

/// Several appends in one commit.
pub const APPEND_BATCH: &str = "append batch";

/// An append's part of that.
pub const WRITE: &str = "write";

/// Several events in one transaction.
pub const APPLY_BATCH: &str = "apply batch";

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
pub fn of_message(operation: &'static str, topic: &'static str) -> Vec<KeyValue> {
    vec![
        KeyValue::new("messaging.system", "gcp_pubsub"),
        KeyValue::new("messaging.operation.name", operation),
        KeyValue::new("messaging.operation.type", operation),
        KeyValue::new(DESTINATION, topic),
    ]
}

/// What is said of an event: never what it says.
pub fn of_event(event: &Recorded<Payload>) -> Vec<KeyValue> {
    vec![
        KeyValue::new(EVENT_ID, event.event_id.to_string()),
        KeyValue::new(EVENT_TYPE, event.data.event_type.clone()),
        KeyValue::new(EVENT_VERSION, i64::from(event.version.0)),
        KeyValue::new(POSITION, event.position.0),
        KeyValue::new(AGGREGATE_ID, event.aggregate_id.to_string()),
        KeyValue::new(AGGREGATE_TYPE, event.data.aggregate_type.clone()),
    ]
}
