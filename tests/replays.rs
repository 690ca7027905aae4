//! The replay endpoint: plan, run, refuse.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::client::{SAMPLE_EVENTS, load_sample};
use crate::harness::{Admin, Fleet, catalogue, expected};

#[tokio::test]
async fn a_repair_applies_what_neither_bus_nor_sweep_has_brought() {
    let fleet = Fleet::new().await;
    let builder = fleet.process("event-store").await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0");
    let store = builder.env("FLEET_NO_RELAY", "true").start().await;
    load_sample(&store).await;
    // Nothing is relayed and the sweep waits: only a replay can apply anything here.
    let mut workers = Vec::new();
    for &topic in catalogue().topics() {
        workers.push(fleet.worker_builder(topic.name, &store).await.env("FLEET_SWEEP_GRACE", "86400").start().await);
    }
    let admin_process = fleet.process("admin").await.start().await;
    let admin = Admin::of(&admin_process);

    let dry = json!({"projection": "vocabulary", "kind": "repair", "selection": {"event_types": ["EntryCreated"]}, "dry_run": true});
    let (status, plan) = admin.post("/replays", &dry).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&plan["selected"], &plan["unsettled"]), (&json!(900), &json!(900)));
    assert_eq!(admin.operations().await, Vec::<Value>::new(), "a dry run writes nothing");
    assert_eq!(fleet.database.count("select count(*) from vocabulary.vocabulary_entries").await, 0);

    let some =
        json!({"projection": "vocabulary", "selection": {"positions": {"from": 1, "to": 500}}, "reason": "a test"});
    let (status, operation) = admin.post("/replays", &some).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let done = admin.succeeded(&operation).await;
    assert_eq!(done["seen"], done["selected"]);
    assert_eq!(done["reason"], "a test");
    let applied = done["applied"].as_i64().unwrap();
    assert!(applied >= done["selected"].as_i64().unwrap(), "{done}");

    // An event that comes early brings its predecessors along: selecting the last of each is selecting all.
    for projection in ["vocabulary", "learner_progress", "learner_journeys", "user_directory", "learning_time"] {
        let (status, operation) = admin.post("/replays", &json!({"projection": projection, "kind": "repair"})).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{operation}");
        admin.succeeded(&operation).await;
    }
    expected::assert_sample(&fleet.database.pool).await;
    fleet.database.settled(SAMPLE_EVENTS, Duration::from_secs(60)).await;

    let (_, again) = admin.post("/replays", &json!({"projection": "vocabulary"})).await;
    let again = admin.succeeded(&again).await;
    assert_eq!(again["applied"], 0, "settled events are no-ops");
    expected::assert_sample(&fleet.database.pool).await;

    let times = json!({"from": "2026-01-05T00:00:00Z", "to": "2026-01-06T00:00:00Z"});
    let (_, plan) = admin
        .post("/replays", &json!({"projection": "user_directory", "selection": {"times": times}, "dry_run": true}))
        .await;
    let wanted = "select count(*) from events where aggregate_type = 'User' and occurred_at >= '2026-01-05' and occurred_at < '2026-01-06'";
    assert_eq!(plan["selected"], fleet.database.count(wanted).await);
    assert_eq!(plan["unsettled"], 0);
}

#[tokio::test]
async fn a_replay_whose_worker_is_killed_is_finished_by_another() {
    let fleet = Fleet::new().await;
    let builder = fleet.process("event-store").await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0");
    let store = builder.env("FLEET_NO_RELAY", "true").start().await;
    load_sample(&store).await;
    let builder = fleet.worker_builder("progress-events", &store).await.env("FLEET_SWEEP_GRACE", "86400");
    let mut worker = builder.start().await;
    let admin = Admin::of(&worker);
    let (_, operation) = admin.post("/replays", &json!({"projection": "learner_journeys"})).await;
    worker.kill();
    // As if the killed worker had been silent for long enough.
    sqlx::query("update operations set heartbeat_at = heartbeat_at - interval '1 hour'")
        .execute(&fleet.database.pool)
        .await
        .unwrap();
    let builder = fleet.worker_builder("progress-events", &store).await.env("FLEET_SWEEP_GRACE", "86400");
    let worker = builder.start().await;
    let done = Admin::of(&worker).succeeded(&operation).await;
    assert_eq!(fleet.database.count("select count(*) from learner_journeys.learner_journeys").await, 1100);
    assert!(done["seen"].as_i64().unwrap() >= done["selected"].as_i64().unwrap(), "{done}");
}

#[tokio::test]
async fn the_same_idempotency_key_is_the_same_operation() {
    let fleet = Fleet::new().await;
    let admin_process = fleet.process("admin").await.start().await;
    let admin = Admin::of(&admin_process);
    let body = json!({"projection": "vocabulary"});
    let post = async || admin.post_with_key("/replays", &body, "incident-7").await.1;
    assert_eq!(post().await["id"], post().await["id"]);
    assert_eq!(admin.operations().await.len(), 1);
}

#[tokio::test]
async fn a_selection_that_is_malformed_or_contradicts_itself_is_refused_by_its_field() {
    let fleet = Fleet::new().await;
    let admin_process = fleet.process("admin").await.start().await;
    let admin = Admin::of(&admin_process);
    for (body, field) in [
        (json!([]), "body"),
        (json!({}), "projection"),
        (json!({"projection": "nobody"}), "projection"),
        (json!({"projection": "vocabulary", "kind": "reset"}), "kind"),
        (json!({"projection": "vocabulary", "selection": {"position": 1}}), "selection.position"),
        (json!({"projection": "vocabulary", "selection": {"positions": {"from": "x"}}}), "selection.positions.from"),
        (json!({"projection": "vocabulary", "selection": {"positions": {"from": 9, "to": 8}}}), "selection.positions"),
        (json!({"projection": "vocabulary", "selection": {"times": {"from": "yesterday"}}}), "selection.times.from"),
        (
            json!({"projection": "vocabulary", "selection": {"times": {"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}}}),
            "selection.times",
        ),
        (json!({"projection": "vocabulary", "selection": {"aggregates": ["x"]}}), "selection.aggregates[0]"),
        (json!({"projection": "vocabulary", "selection": {"aggregates": []}}), "selection.aggregates"),
        (json!({"projection": "vocabulary", "selection": {"event_types": ["x\0"]}}), "selection.event_types"),
        (json!({"projection": "vocabulary", "reason": "x".repeat(1001)}), "reason"),
    ] {
        let (status, problem) = admin.post("/replays", &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(problem["errors"][0]["field"], field, "{body}: {problem}");
        assert_eq!(problem["status"], 400);
        assert!(problem["detail"].as_str().unwrap().len() > 10);
    }
    assert_eq!(admin.operations().await, Vec::<Value>::new(), "nothing is written");
    assert_eq!(admin.ask("/operations/x").await.0, StatusCode::NOT_FOUND);
}
