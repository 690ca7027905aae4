//! The event store as its callers see it.

use std::time::Duration;

use event_store::proto::event_store_client::EventStoreClient;
use event_store::proto::{AppendEventsRequest, NewEvent};
use fleet::client;
use fleet::client::endpoint;
use fleet::commands::import::{self, Summary};
use identity::Channel;
use indicatif::ProgressBar;
use uuid::Uuid;

use super::{Process, eventually};

/// The sample history, as `fleet dev` loads it.
pub static SAMPLE: &[u8] = include_bytes!("../../projections/sample/history.ndjson.gz");

/// How many events it has.
pub const SAMPLE_EVENTS: i64 = 22_496;

pub type Store = EventStoreClient<Channel>;

pub async fn connect(store: &Process) -> Store {
    let endpoint = endpoint(&store.grpc()).unwrap();
    let channel = eventually("the event store answers", Duration::from_secs(30), async || {
        endpoint.connect().await.map_err(|error| error.to_string())
    })
    .await;
    EventStoreClient::new(channel.into()).max_encoding_message_size(64 << 20)
}

/// Loads the sample through gRPC.
pub async fn load_sample(store: &Process) -> Summary {
    let at = client::EventStore::at(&store.grpc());
    let summary = import::import(&at, std::io::Cursor::new(SAMPLE), &ProgressBar::hidden()).await.unwrap();
    assert_eq!(
        summary,
        Summary { requests: 20_246, events: SAMPLE_EVENTS as u64, known: summary.known, refused: 0, existing: 0 }
    );
    summary
}

/// A request with nothing wrong in it.
pub fn append(aggregate_type: &str, aggregate_id: Uuid, events: Vec<NewEvent>) -> AppendEventsRequest {
    AppendEventsRequest {
        aggregate_id: aggregate_id.to_string(),
        aggregate_type: aggregate_type.to_owned(),
        expected_version: None,
        idempotency_key: String::new(),
        events,
    }
}

pub fn event(event_type: &str, data: serde_json::Value) -> NewEvent {
    NewEvent {
        event_id: None,
        event_type: event_type.to_owned(),
        event_data: data.to_string(),
        metadata: String::new(),
        occurred_at: None,
    }
}

/// The first event of a user.
pub fn signed_up(user: Uuid) -> NewEvent {
    let data = serde_json::json!({
        "user_id": user, "email": format!("{}@example.org", user.simple()), "first_name": "Ada", "last_name": "L",
    });
    NewEvent { metadata: r#"{"schema_version":2}"#.to_owned(), ..event("UserSignedUp", data) }
}

pub fn email_updated(user: Uuid, email: &str) -> NewEvent {
    event("UserEmailUpdated", serde_json::json!({"user_id": user, "email": email}))
}
