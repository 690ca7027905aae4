//! Foreign events: published by somebody else, with only the two attributes of the first ADR.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::client::{append, connect, signed_up};
use crate::harness::{Fleet, eventually};
use crate::sample::publish;

const LIMIT: Duration = Duration::from_secs(60);

pub fn foreign(aggregate_type: &str, aggregate: Uuid, event_type: &str, version: i32, data: &Value) -> Value {
    json!({
        "event_id": Uuid::now_v7(), "aggregate_id": aggregate, "aggregate_type": aggregate_type,
        "event_type": event_type, "event_version": version, "event_data": data,
        "metadata": {"actor": "crm"}, "occurred_at": "2026-03-01T08:00:00.123Z",
    })
}

/// Publishes with Google's own Python client if `FLEET_TEST_PYTHON` names an interpreter that has it, else with Google's
/// Rust client; `CI=true` insists on Python.
pub async fn publish_foreign(fleet: &Fleet, topic: &str, event: &Value) {
    let text = event.to_string();
    let attributes = [
        ("event_type", event["event_type"].as_str().unwrap()),
        ("aggregate_id", event["aggregate_id"].as_str().unwrap()),
    ];
    let Some(python) = std::env::var_os("FLEET_TEST_PYTHON") else {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "FLEET_TEST_PYTHON must name a Python that has google-cloud-pubsub"
        );
        println!("FLEET_TEST_PYTHON is not set: NOT publishing with Google's Python client, but with its Rust client");
        publish(Arc::new(fleet.project.google.publisher(topic)), text.as_bytes(), &attributes).await;
        return;
    };
    let program = "import sys\nfrom google.cloud import pubsub_v1\n\
        client = pubsub_v1.PublisherClient()\n\
        project, topic, data, event_type, aggregate_id = sys.argv[1:]\n\
        path = client.topic_path(project, topic)\n\
        client.publish(path, data.encode(), event_type=event_type, aggregate_id=aggregate_id).result(timeout=60)\n";
    let mut command = Command::new(python);
    command.env("PUBSUB_EMULATOR_HOST", &fleet.project.emulator).stdout(Stdio::null());
    command.args(["-c", program, &fleet.project.name, topic, &text, attributes[0].1, attributes[1].1]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn count(fleet: &Fleet, sql: &'static str, wanted: i64) {
    eventually(sql, LIMIT, async || {
        let found = fleet.database.count(sql).await;
        if found == wanted { Ok(()) } else { Err(format!("{found}, not {wanted}")) }
    })
    .await;
}

#[tokio::test]
async fn a_foreign_event_on_integration_events_is_adopted_into_the_store_and_applied() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let _worker = fleet.worker("integration-events", &store).await;
    let user = Uuid::now_v7();
    let data = json!({"user_id": user, "email": "ada@example.org", "name": "Ada"});
    let first = foreign("User", user, "UserSignedUp", 1, &data);
    publish_foreign(&fleet, "integration-events", &first).await;

    count(&fleet, "select count(*) from user_directory.users where first_name = 'Ada' and version = 1", 1).await;
    let stored: Value =
        sqlx::query_scalar("select to_jsonb(e) from events as e").fetch_one(&fleet.database.pool).await.unwrap();
    for field in ["event_id", "aggregate_id", "aggregate_type", "event_type", "event_version", "event_data", "metadata"]
    {
        assert_eq!(stored[field], first[field], "{field}");
    }
    assert_eq!(stored["occurred_at"], "2026-03-01T08:00:00.123+00:00");
    assert_eq!(stored["position"], 1);

    // Again, and with a later version that came too early: nothing is lost, nothing is doubled.
    let third = foreign("User", user, "UserDeleted", 3, &json!({"user_id": user}));
    let second = foreign("User", user, "UserEmailUpdated", 2, &json!({"user_id": user, "email": "l@example.org"}));
    for event in [&third, &first, &second] {
        publish_foreign(&fleet, "integration-events", event).await;
    }
    count(&fleet, "select count(*) from user_directory.users where status = 'deleted' and version = 3", 1).await;
    assert_eq!(fleet.database.head().await.0, 3);
    assert_eq!(fleet.database.count("select count(*) from parked_events").await, 0);
}

#[tokio::test]
async fn a_foreign_event_whose_version_is_taken_is_parked() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let _worker = fleet.worker("integration-events", &store).await;
    let user = Uuid::now_v7();
    connect(&store).await.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();
    let clash = foreign("User", user, "UserDeleted", 1, &json!({"user_id": user}));
    publish_foreign(&fleet, "integration-events", &clash).await;
    count(&fleet, "select count(*) from parked_events where reason = 'version_clash'", 1).await;
    assert_eq!(fleet.database.head().await.0, 1);
}

#[tokio::test]
async fn a_foreign_event_of_an_aggregate_of_another_type_is_parked() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let _worker = fleet.worker("integration-events", &store).await;
    let user = Uuid::now_v7();
    connect(&store).await.append_events(append("Session", user, vec![signed_up(user)])).await.unwrap();
    let next = foreign("User", user, "UserDeleted", 2, &json!({"user_id": user}));
    publish_foreign(&fleet, "integration-events", &next).await;
    count(&fleet, "select count(*) from parked_events where reason = 'wrong_data' and error like '%\"Session\"%'", 1)
        .await;
    assert_eq!(fleet.database.head().await.0, 1);
}

#[tokio::test]
async fn a_foreign_event_with_wrong_data_is_not_let_into_the_store() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let _worker = fleet.worker("integration-events", &store).await;
    let user = Uuid::now_v7();
    let wrong = foreign("User", user, "LearningGoalSet", 1, &json!({"user_id": user, "daily_goal": "many"}));
    publish_foreign(&fleet, "integration-events", &wrong).await;
    let other = foreign("Order", user, "OrderPlaced", 1, &json!({}));
    publish_foreign(&fleet, "integration-events", &other).await;
    count(&fleet, "select count(*) from parked_events where reason = 'wrong_data'", 2).await;
    assert_eq!(fleet.database.head().await.0, 0);
}

#[tokio::test]
async fn a_foreign_event_elsewhere_is_parked_and_a_known_one_is_applied_from_the_store() {
    let fleet = Fleet::new().await;
    let builder = fleet.process("event-store").await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0");
    let store = builder.env("FLEET_NO_RELAY", "true").start().await;
    let _worker =
        fleet.worker_builder("vocabulary-events", &store).await.env("FLEET_SWEEP_GRACE", "3600").start().await;

    let entry = Uuid::now_v7();
    let data = json!({"entry_id": entry, "spelling": "true"});
    let mut known = foreign("VocabularyEntry", entry, "EntryCreated", 1, &data);
    let event = event_store::proto::NewEvent {
        event_id: known["event_id"].as_str().map(str::to_owned),
        ..crate::harness::client::event("EntryCreated", data)
    };
    connect(&store).await.append_events(append("VocabularyEntry", entry, vec![event])).await.unwrap();

    let unknown =
        foreign("VocabularyEntry", Uuid::now_v7(), "EntryCreated", 1, &json!({"entry_id": entry, "spelling": "x"}));
    publish_foreign(&fleet, "vocabulary-events", &unknown).await;
    count(&fleet, "select count(*) from parked_events where reason = 'unknown_event'", 1).await;

    // Whatever the message says of a known event, the store is believed.
    known["event_data"]["spelling"] = "false".into();
    publish_foreign(&fleet, "vocabulary-events", &known).await;
    count(&fleet, "select count(*) from vocabulary.vocabulary_entries where spelling = 'true'", 1).await;
    assert_eq!(fleet.database.head().await.0, 1);
}
