//! `fleet worker --until-settled`: a worker for jobs ends when there is nothing left to do, and says how it came out.

use serde_json::json;
use uuid::Uuid;

use crate::dead_letters::{LIMIT, poisoned_user};
use crate::harness::client::{append, connect, event, signed_up};
use crate::harness::{Admin, Builder, Fleet, Process, Store};

const TOPIC: &str = "integration-events";

async fn job(fleet: &Fleet, store: &Process) -> Builder {
    fleet.worker_builder(TOPIC, store).await.arg("--until-settled")
}

/// The exit code, and what was logged.
async fn ended(job: Builder) -> (Option<i32>, String) {
    let (status, _, log) = job.output().await;
    (status.code(), log)
}

async fn users(client: &mut Store, count: usize) {
    for _ in 0..count {
        let user = Uuid::now_v7();
        client.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();
    }
}

#[tokio::test]
async fn it_ends_with_0_when_what_was_there_is_settled_and_what_people_had_asked_for_is_done() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut client = connect(&store).await;
    users(&mut client, 7).await;
    let process = fleet.process("admin").await.start().await;
    let admin = Admin::of(&process);
    let request = json!({"projection": "user_directory", "actor": "ada", "reason": "a test"});
    let (_, operation) = admin.post("/replays", &request).await;
    let (code, log) = ended(job(&fleet, &store).await).await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("everything is settled"), "{log}");
    assert_eq!(fleet.database.count("select count(*) from user_directory.users").await, 7);
    let settled = "select min(settled_position) from projection_progress where topic = 'integration-events'";
    assert_eq!(fleet.database.count(settled).await, 7);
    let operation = admin.get(&format!("/operations/{}", operation["id"].as_str().unwrap())).await;
    assert_eq!(operation["state"], "succeeded", "{operation}");
    // There is nothing to do, which is no failure.
    assert_eq!(ended(job(&fleet, &store).await).await.0, Some(0));
}

#[tokio::test]
async fn what_it_parks_makes_it_end_with_1_and_what_was_parked_before_does_not() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut client = connect(&store).await;
    let goal = |user| event("LearningGoalSet", json!({"user_id": user, "daily_goal": "many"}));
    poisoned_user(&mut client, goal, 2).await;
    users(&mut client, 3).await;
    let (code, log) = ended(job(&fleet, &store).await).await;
    assert!(code == Some(1) && log.contains("everything is settled") && log.contains("parked meanwhile"), "{log}");
    let (code, log) = ended(job(&fleet, &store).await).await;
    assert!(code == Some(0) && log.contains("waits for a person"), "{code:?} {log}");
    fleet.settled("integration-events", 7).await;
}

#[tokio::test]
async fn what_it_cannot_settle_in_its_time_or_never_makes_it_end_with_1() {
    let fleet = Fleet::new().await;
    let store = fleet.process("event-store").await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0").arg("--no-relay");
    let store = store.start().await;
    users(&mut connect(&store).await, 1).await;
    let patient = async || job(&fleet, &store).await.env("FLEET_SWEEP_GRACE", "3600");
    let (code, log) = ended(patient().await.arg("--for").arg("2")).await;
    assert!(code == Some(1) && log.contains("not everything is settled after 2 s"), "{code:?} {log}");
    let mut stopped = patient().await.start().await;
    stopped.terminate();
    assert_eq!(stopped.ended(LIMIT).await.code(), Some(1), "{:?}", stopped.logged());

    let raised = "update projections set version = 99 where name = 'user_directory'";
    sqlx::query(raised).execute(&fleet.database.pool).await.unwrap();
    let (code, log) = ended(patient().await).await;
    let named = log.contains("another version of the code built them: user_directory");
    assert!(code == Some(1) && named, "{code:?} {log}");
    let (status, _, error) = Process::builder("worker").arg("--topic").arg(TOPIC).arg("--for").arg("2").output().await;
    assert!(status.code() == Some(2) && error.contains("--until-settled"), "{error}");
}
