//! All names of spans and of what is said of them: those of OpenTelemetry's conventions, of which the ones for messages are
//! still being worked on, so that this is the place to change them; and the fleet's own, which begin with `fleet.`.
//!
//! Source: <https://opentelemetry.io/docs/specs/semconv/>, version 1.45.

use events::{Payload, Recorded};

use crate::Words;

/// What a span is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// As it stands.
    Plain(&'static str),
    /// What is done, and with what.
    Of(&'static str, &'static str),
    /// A method and the route of a request.
    Request(String, String),
}

impl Name {
    /// What it is made of, in this order.
    pub(crate) fn parts(&self) -> [&str; 3] {
        match self {
            Self::Plain(name) => [name, "", ""],
            Self::Of(what, of) => [what, " ", of],
            Self::Request(method, route) => [method, " ", route],
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

/// Says which request it is.
pub fn of_request(words: &mut Words, method: &str, route: &str, changes: bool) {
    words.text("http.request.method", method);
    words.text("http.route", route);
    words.flag(CHANGES, changes);
}

/// One transaction of a builder.
pub fn build(projection: &'static str) -> Name {
    Name::Of("build", projection)
}

/// A generation takes the place of another.
pub fn exchange(kind: &'static str, projection: &'static str) -> Name {
    Name::Of(kind, projection)
}

/// Says on which generation work is done.
pub fn of_generation(words: &mut Words, projection: &str, generation: i32) {
    words.text(PROJECTION, projection);
    words.number(GENERATION, generation.into());
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

/// Says which call it is.
pub fn of_call(words: &mut Words, call: Call) {
    words.text("rpc.system", "grpc");
    words.text("rpc.service", "fleet.eventstore.v1.EventStore");
    words.text("rpc.method", call.method);
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

/// Says of which kind a message is: `operation` is `send` or `receive`.
pub fn of_message(words: &mut Words, operation: &str, topic: &str) {
    words.text("messaging.system", "gcp_pubsub");
    words.text("messaging.operation.name", operation);
    words.text("messaging.operation.type", operation);
    words.text(DESTINATION, topic);
}

/// Says which event it is, wherever it is, and never what it says.
pub fn of_event(words: &mut Words, event: &Recorded<Payload>) {
    words.id(EVENT_ID, event.event_id.0);
    words.text(EVENT_TYPE, &event.data.event_type);
    words.number(EVENT_VERSION, event.version.0.into());
    words.number(POSITION, event.position.0);
}

/// Says to whom it happened, once in the trace of an event.
pub fn of_aggregate(words: &mut Words, event: &Recorded<Payload>) {
    words.id(AGGREGATE_ID, event.aggregate_id.0);
    words.text(AGGREGATE_TYPE, &event.data.aggregate_type);
}
