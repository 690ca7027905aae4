//! What a person decides about dead letters, and what the fleet makes of it.

use std::sync::Arc;
use std::time::Duration;

use event_store::proto::NewEvent;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::Row;
use uuid::Uuid;

use crate::harness::client::{append, connect, email_updated, event, signed_up};
use crate::harness::{Admin, Fleet, Process, Store, eventually};
use crate::sample::publish;

pub const LIMIT: Duration = Duration::from_secs(60);

/// A read model's own constraint stands for whatever makes Postgres refuse a row; dropping it, for the fix.
pub const BREAK: &str = "alter table user_directory.users add constraint no_mallory check (email not like 'mallory%')";
pub const FIX: &str = "alter table user_directory.users drop constraint no_mallory";

pub async fn execute(fleet: &Fleet, sql: &'static str) {
    sqlx::query(sql).execute(&fleet.database.pool).await.unwrap();
}

pub async fn letters(fleet: &Fleet, admin: &Admin, count: usize) -> Vec<Value> {
    eventually("they are parked, and everything else is settled", LIMIT, async || {
        let page = admin.get("/dead-letters").await;
        let letters = page["dead_letters"].as_array().unwrap().clone();
        let lag: i64 = fleet.database.lag().await.projections.iter().map(|status| status.lag_events).sum();
        if letters.len() == count && lag == 0 { Ok(letters) } else { Err(format!("lag {lag}, {page}")) }
    })
    .await
}

pub fn mallory(user: Uuid) -> NewEvent {
    email_updated(user, "mallory@example.org")
}

/// A user whose second event is `poison`, with `behind` events after it. They are no better, because a fold that
/// ends in a good row hides a bad one on the way.
pub async fn poisoned_user(client: &mut Store, poison: impl FnOnce(Uuid) -> NewEvent, behind: usize) -> Uuid {
    let user = Uuid::now_v7();
    client.append_events(append("User", user, vec![signed_up(user), poison(user)])).await.unwrap();
    let later: Vec<_> = (0..behind).map(|n| email_updated(user, &format!("mallory{n}@example.org"))).collect();
    if !later.is_empty() {
        client.append_events(append("User", user, later)).await.unwrap();
    }
    user
}

pub async fn row_of(fleet: &Fleet, user: Uuid) -> (Option<String>, i32) {
    let row = sqlx::query("select email, version from user_directory.users where user_id = $1").bind(user);
    let row = row.fetch_one(&fleet.database.pool).await.unwrap();
    (row.get(0), row.get(1))
}

pub async fn held(fleet: &Fleet) -> i64 {
    fleet.database.count("select count(*) from projected_aggregates where held").await
}

pub async fn command(fleet: &Fleet, process: &Process, args: &[&str]) -> (bool, String) {
    let mut builder = fleet.process("dead-letters").await.env("FLEET_HTTP", &process.http());
    for arg in args {
        builder = builder.arg(arg);
    }
    let (status, out, err) = builder.output().await;
    (status.success(), out + &err)
}

#[tokio::test]
async fn a_discard_needs_what_was_seen_and_goes_on_without_it() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut client = connect(&store).await;
    let worker = fleet.worker("integration-events", &store).await;
    let admin = Admin::of(&worker);
    let goal = |user| event("LearningGoalSet", json!({"user_id": user, "daily_goal": "many"}));
    let user = poisoned_user(&mut client, goal, 2).await;
    let letter = letters(&fleet, &admin, 1).await.remove(0);
    let path = format!("/dead-letters/{}/discard", letter["id"].as_str().unwrap());
    let seen = json!({
        "event_id": letter["event_id"], "error": letter["error"], "actor": "ada", "reason": "the goal was a test",
    });
    for (field, wrong, expected) in [
        ("event_id", json!(Uuid::now_v7()), StatusCode::PRECONDITION_FAILED),
        ("event_id", Value::Null, StatusCode::PRECONDITION_FAILED),
        ("error", json!("something else"), StatusCode::PRECONDITION_FAILED),
        ("reason", json!(""), StatusCode::BAD_REQUEST),
        ("actor", json!(" "), StatusCode::BAD_REQUEST),
    ] {
        let mut body = seen.clone();
        body[field] = wrong;
        let (status, problem) = admin.post(&path, &body).await;
        assert_eq!(status, expected, "{field}: {problem}");
    }
    assert_eq!(admin.operations().await, Vec::<Value>::new(), "nothing was decided");

    let (status, operation) = admin.post_with_key(&path, &seen, "discard-1").await;
    assert_eq!(status, StatusCode::ACCEPTED, "{operation}");
    let done = admin.succeeded(&operation).await;
    assert_eq!((&done["applied"], &done["parked"]), (&json!(2), &json!(0)));
    assert_eq!(row_of(&fleet, user).await, (Some("mallory1@example.org".to_owned()), 4));
    assert_eq!(held(&fleet).await, 0);
    let (_, same) = admin.post_with_key(&path, &seen, "discard-1").await;
    assert_eq!(same["id"], operation["id"], "one key, one discard");
    let (status, _) = admin.post(&path, &seen).await;
    assert_eq!(status, StatusCode::NOT_FOUND);

    let kept = sqlx::query("select event_version, payload, error from discarded_events")
        .fetch_one(&fleet.database.pool)
        .await
        .unwrap();
    assert_eq!(kept.get::<i32, _>("event_version"), 2);
    assert!(String::from_utf8(kept.get("payload")).unwrap().contains("many"), "the payload is kept");
    let audit = admin.get("/audit").await;
    let entry = &audit["entries"][0];
    assert_eq!((&entry["action"], &entry["actor"]), (&json!("dead_letter.discard"), &json!("ada")));
    assert_eq!(entry["target"], operation["id"]);
}

#[tokio::test]
async fn a_payload_is_shown_only_with_a_reason_and_the_look_is_recorded() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut client = connect(&store).await;
    let worker = fleet.worker("integration-events", &store).await;
    let admin = Admin::of(&worker);
    let goal = |user| event("LearningGoalSet", json!({"user_id": user, "daily_goal": "a secret"}));
    poisoned_user(&mut client, goal, 0).await;
    let letter = letters(&fleet, &admin, 1).await.remove(0);
    let path = format!("/dead-letters/{}", letter["id"].as_str().unwrap());

    let masked = admin.get(&path).await;
    assert!(!masked.to_string().contains("secret"), "{masked}");
    assert!(masked["payload_bytes"].as_i64().unwrap() > 100);
    let (status, problem) = admin.ask(&format!("{path}?payload=true&actor=ada")).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!("reason")));
    assert_eq!(admin.get("/audit").await["entries"], json!([]));

    let shown = admin.get(&format!("{path}?payload=true&actor=ada&reason=TICKET-8")).await;
    assert_eq!(shown["payload"]["event_data"]["daily_goal"], "a secret");
    let audit = admin.get("/audit").await;
    assert_eq!(
        (&audit["entries"][0]["action"], &audit["entries"][0]["target"]),
        (&json!("dead_letter.reveal"), &letter["id"])
    );
    assert_eq!(admin.ask(&format!("/dead-letters/{}", Uuid::nil())).await.0, StatusCode::NOT_FOUND);
    for wrong in ["?reason=bored", "?aggregate_id=x", "?limit=0", "?topic=nowhere", "?colour=red"] {
        let (status, problem) = admin.ask(&format!("/dead-letters{wrong}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}: {problem}");
    }
}

#[tokio::test]
async fn a_batch_takes_what_its_plan_showed_and_no_more() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut client = connect(&store).await;
    execute(&fleet, BREAK).await;
    let worker = fleet.worker("integration-events", &store).await;
    let admin = Admin::of(&worker);
    for _ in 0..3 {
        poisoned_user(&mut client, mallory, 2).await;
    }
    letters(&fleet, &admin, 3).await;
    let batches = "/dead-letter-batches";
    let filter = json!({"projection": "user_directory", "reason": "write_failed"});
    let (status, plan) = admin.post(batches, &json!({"filter": filter})).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&plan["selected"], &plan["waiting"], &plan["more"]), (&json!(3), &json!(6), &json!(false)));
    assert_eq!(plan["groups"][0]["reason"], "write_failed");
    assert_eq!(admin.operations().await, Vec::<Value>::new(), "a dry run writes nothing");

    let late = poisoned_user(&mut client, mallory, 0).await;
    letters(&fleet, &admin, 4).await;
    execute(&fleet, FIX).await;
    let (status, _) = admin.post(batches, &json!({"filter": filter, "dry_run": false})).await;
    assert_eq!(status, StatusCode::PRECONDITION_REQUIRED);
    let other = json!({"filter": {}, "dry_run": false, "plan_token": plan["plan_token"]});
    assert_eq!(admin.post(batches, &other).await.0, StatusCode::PRECONDITION_FAILED);
    for (wrong, field) in [
        (json!({}), "filter"),
        (json!({"filter": {"reason": "bored"}}), "filter.reason"),
        (json!({"filter": {"topic": "nowhere"}}), "filter.topic"),
        (json!({"filter": {"ids": []}}), "filter.ids"),
        (json!({"filter": {}, "action": "discard"}), "action"),
        (json!({"filter": {}, "max_items": 0}), "max_items"),
        (json!({"filter": {}, "rate": 0}), "rate"),
    ] {
        let (status, problem) = admin.post(batches, &wrong).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!(field)), "{problem}");
    }

    let run = json!({"filter": filter, "dry_run": false, "plan_token": plan["plan_token"], "reason": "fixed"});
    let (status, operation) = admin.post(batches, &run).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{operation}");
    let done = admin.succeeded(&operation).await;
    assert_eq!((&done["selected"], &done["seen"], &done["applied"]), (&json!(3), &json!(3), &json!(9)));
    let left = letters(&fleet, &admin, 1).await.remove(0);
    assert_eq!(left["aggregate_id"], json!(late), "it was parked after the plan");
    assert_eq!(admin.post(batches, &run).await.0, StatusCode::CONFLICT, "nothing of the plan is left");
}

#[tokio::test]
async fn a_parked_message_is_resolved_again_or_discarded_alone() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut client = connect(&store).await;
    let worker = fleet.worker("vocabulary-events", &store).await;
    let admin = Admin::of(&worker);
    let (entry, event_id) = (Uuid::now_v7(), Uuid::now_v7());
    let foreign = json!({
        "event_id": event_id, "aggregate_id": entry, "aggregate_type": "VocabularyEntry", "event_type": "EntryCreated",
        "event_version": 1, "event_data": {"entry_id": entry, "spelling": "late"}, "metadata": {},
        "occurred_at": "2026-03-01T08:00:00Z",
    });
    let publisher = Arc::new(fleet.project.google.publisher("vocabulary-events"));
    publish(publisher.clone(), foreign.to_string().as_bytes(), &[]).await;
    publish(publisher, b"not an event", &[]).await;
    let parked = letters(&fleet, &admin, 2).await;
    let find = |reason: &str| parked.iter().find(|letter| letter["reason"] == reason).unwrap();
    let (unknown, garbage) = (find("unknown_event"), find("undecodable"));
    assert_eq!((&unknown["projection"], &unknown["waiting"]), (&Value::Null, &Value::Null));

    // The store comes to know the event. With the relay off and no sweep, only the retry could bring it; here either
    // may, and the retry must find that it is an event by now.
    let mut known = event("EntryCreated", json!({"entry_id": entry, "spelling": "late"}));
    known.event_id = Some(event_id.to_string());
    client.append_events(append("VocabularyEntry", entry, vec![known])).await.unwrap();
    let (_, operation) = admin.post("/dead-letter-batches", &json!({"filter": {"topic": "vocabulary-events"}})).await;
    let run =
        json!({"filter": {"topic": "vocabulary-events"}, "dry_run": false, "plan_token": operation["plan_token"]});
    let (_, operation) = admin.post("/dead-letter-batches", &run).await;
    let done = admin.failed(&operation).await;
    assert_eq!((&done["seen"], &done["parked"]), (&json!(2), &json!(1)), "{done}");
    let left = letters(&fleet, &admin, 1).await.remove(0);
    assert_eq!((&left["id"], &left["attempts"]), (&garbage["id"], &json!(2)));
    assert_eq!(fleet.database.count("select count(*) from vocabulary.vocabulary_entries").await, 1);

    let discard = json!({"event_id": null, "error": left["error"], "actor": "ada", "reason": "told its publisher"});
    let (status, operation) =
        admin.post(&format!("/dead-letters/{}/discard", left["id"].as_str().unwrap()), &discard).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{operation}");
    admin.succeeded(&operation).await;
    letters(&fleet, &admin, 0).await;
    assert_eq!(fleet.database.count("select count(*) from discarded_events where payload = 'not an event'").await, 1);
}

#[tokio::test]
async fn what_the_broker_gave_up_on_is_applied_or_parked_where_people_look() {
    let fleet = Fleet::new().await;
    let builder = fleet.process("event-store").await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0");
    let store = builder.env("FLEET_NO_RELAY", "true").start().await;
    let user = Uuid::now_v7();
    let event_id = Uuid::now_v7();
    let mut first = signed_up(user);
    first.event_id = Some(event_id.to_string());
    connect(&store).await.append_events(append("User", user, vec![first])).await.unwrap();
    // No relay and no sweep: only the dead letter can bring it.
    let worker =
        fleet.worker_builder("integration-events", &store).await.env("FLEET_SWEEP_GRACE", "86400").start().await;
    let publisher = Arc::new(fleet.project.google.publisher("integration-projection-dead-letter"));
    let source = [("CloudPubSubDeadLetterSourceSubscription", "integration-projection")];
    publish(publisher.clone(), json!({"event_id": event_id}).to_string().as_bytes(), &source).await;
    publish(publisher, b"\xff", &source).await;
    eventually("the one is applied, the other parked", LIMIT, async || {
        let users = fleet.database.count("select count(*) from user_directory.users").await;
        let parked = fleet.database.count("select count(*) from parked_events where payload = '\\xff'").await;
        if (users, parked) == (1, 1) { Ok(()) } else { Err(format!("{users} users, {parked} parked")) }
    })
    .await;
    eventually("they are counted", LIMIT, async || {
        let url = format!("http://{}/metrics", worker.http());
        let text = reqwest::get(url).await.unwrap().text().await.unwrap();
        let counted = r#"worker_broker_dead_letters_total{topic="integration-events"} 2"#;
        if text.contains(counted) { Ok(()) } else { Err(text) }
    })
    .await;
}
