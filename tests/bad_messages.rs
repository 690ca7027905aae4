//! What a worker does with messages and events that nobody can apply: parks them whole, and everything else flows.

use std::sync::Arc;
use std::time::Duration;

use events::Version;
use serde_json::json;
use sqlx::Row;
use uuid::Uuid;

use crate::harness::client::{append, connect, email_updated, event, signed_up};
use crate::harness::{Fleet, Process, eventually};
use crate::sample::publish;

const LIMIT: Duration = Duration::from_secs(60);

async fn parked(fleet: &Fleet, count: i64) {
    eventually("they are parked", LIMIT, async || {
        let parked = fleet.database.count("select count(*) from parked_events").await;
        if parked >= count { Ok(()) } else { Err(format!("{parked} of {count}")) }
    })
    .await;
}

async fn user_row(fleet: &Fleet, user: Uuid) -> Option<(Option<String>, i32)> {
    sqlx::query("select email, version from user_directory.users where user_id = $1")
        .bind(user)
        .fetch_optional(&fleet.database.pool)
        .await
        .unwrap()
        .map(|row| (row.get(0), row.get(1)))
}

async fn at_version(fleet: &Fleet, user: Uuid, version: i32) {
    eventually("the user is at the version", LIMIT, async || match user_row(fleet, user).await {
        Some((_, at)) if at == version => Ok(()),
        row => Err(format!("{row:?}")),
    })
    .await;
}

#[tokio::test]
async fn a_message_that_is_no_event_is_parked_with_its_bytes_and_everything_else_flows() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let worker = fleet.worker("integration-events", &store).await;
    let publisher = Arc::new(fleet.project.google.publisher("integration-events"));
    let wrong: [&[u8]; 5] = [
        b"not JSON",
        b"{\"event_id\":\"\xff\xfe\"}",
        b"{}",
        br#"{"event_id":"x"}"#,
        br#"{"event_id":"0193a0e0-0000-7000-8000-000000000001"}"#,
    ];
    for data in wrong {
        publish(publisher.clone(), data, &[("event_type", "UserDeleted"), ("aggregate_id", "nul\0")]).await;
    }
    let user = Uuid::now_v7();
    connect(&store).await.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();

    parked(&fleet, wrong.len() as i64).await;
    at_version(&fleet, user, 1).await;
    let rows = sqlx::query("select payload, reason, error, projection from parked_events")
        .fetch_all(&fleet.database.pool)
        .await
        .unwrap();
    let mut payloads: Vec<Vec<u8>> = rows.iter().map(|row| row.get("payload")).collect();
    let mut expected: Vec<Vec<u8>> = wrong.iter().map(|data| data.to_vec()).collect();
    payloads.sort();
    expected.sort();
    assert_eq!(payloads, expected, "the bytes as they came");
    for row in &rows {
        assert_eq!(row.get::<String, _>("reason"), "undecodable");
        assert!(!row.get::<String, _>("error").is_empty());
        assert_eq!(row.get::<Option<String>, _>("projection"), None);
    }
    acknowledged(&worker).await;
    assert_eq!(
        counter(&worker, r#"worker_parked_messages_total{reason="undecodable",topic="integration-events"}"#).await,
        5
    );
}

/// A parked message is acknowledged, so that nothing of it comes again: the attempts stay at 1.
async fn acknowledged(worker: &Process) {
    let log = worker.logged();
    let parked = log.iter().filter(|line| line.contains("parked a message")).count();
    assert_eq!(parked, 5, "{log:?}");
}

async fn counter(process: &Process, name: &str) -> i64 {
    let text = reqwest::get(format!("http://{}/metrics", process.http())).await.unwrap().text().await.unwrap();
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.rsplit(' ').next()).map_or(0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn wrong_data_is_parked_with_its_error_and_holds_its_aggregate_only() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut client = connect(&store).await;
    let (ada, ben) = (Uuid::now_v7(), Uuid::now_v7());
    client.append_events(append("User", ada, vec![signed_up(ada)])).await.unwrap();
    let goal = event("LearningGoalSet", json!({"user_id": ada, "daily_goal": "secret words"}));
    client.append_events(append("User", ada, vec![goal])).await.unwrap();
    client.append_events(append("User", ada, vec![email_updated(ada, "later@example.org")])).await.unwrap();
    client.append_events(append("User", ben, vec![signed_up(ben), email_updated(ben, "b@example.org")])).await.unwrap();

    let worker = fleet.worker("integration-events", &store).await;
    parked(&fleet, 1).await;
    at_version(&fleet, ben, 2).await;
    let report = settled(&fleet, 5).await;
    assert_eq!(
        user_row(&fleet, ada).await.unwrap().1,
        1,
        "what came before the poison is applied, what came after waits"
    );
    assert_eq!((report.parked, report.held_aggregates), (1, 1));

    let row = sqlx::query("select * from parked_events").fetch_one(&fleet.database.pool).await.unwrap();
    assert_eq!(row.get::<String, _>("reason"), "wrong_data");
    assert_eq!(row.get::<Option<String>, _>("projection").as_deref(), Some("user_directory"));
    assert_eq!(row.get::<Option<i32>, _>("event_version"), Some(Version(2).0));
    let error: String = row.get("error");
    assert!(error.contains("LearningGoalSet") && !error.contains("secret"), "{error}");
    assert!(String::from_utf8(row.get("payload")).unwrap().contains("secret words"));
    assert!(worker.logged().iter().all(|line| !line.contains("secret words")), "no payload in logs");
    assert_eq!(
        counter(&worker, r#"projection_events_total{mode="live",projection="user_directory",result="parked""#).await
            + counter(&worker, r#"projection_events_total{mode="sweep",projection="user_directory",result="parked""#)
                .await,
        1
    );
}

async fn settled(fleet: &Fleet, position: i64) -> workers::lag::Status {
    eventually("user_directory is settled", LIMIT, async || {
        let report = fleet.database.lag().await;
        let status = report.projections.into_iter().find(|status| status.name == "user_directory").unwrap();
        if status.settled_position >= position { Ok(status) } else { Err(format!("{status:?}")) }
    })
    .await
}

#[tokio::test]
async fn what_postgres_refuses_is_found_in_its_batch_and_parked_alone() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut client = connect(&store).await;
    // The read model's own constraint stands for whatever Postgres may refuse at the last moment.
    sqlx::query("alter table user_directory.users add constraint no_mallory check (email not like 'mallory%')")
        .execute(&fleet.database.pool)
        .await
        .unwrap();
    let users: Vec<Uuid> = (0..40).map(|_| Uuid::now_v7()).collect();
    for user in &users {
        client.append_events(append("User", *user, vec![signed_up(*user)])).await.unwrap();
    }
    let mallory = users[23];
    client.append_events(append("User", mallory, vec![email_updated(mallory, "mallory@example.org")])).await.unwrap();

    let _worker = fleet.worker("integration-events", &store).await;
    parked(&fleet, 1).await;
    client.append_events(append("User", mallory, vec![email_updated(mallory, "m@example.org")])).await.unwrap();
    settled(&fleet, 42).await;
    let row = sqlx::query("select reason, error, event_version from parked_events")
        .fetch_all(&fleet.database.pool)
        .await
        .unwrap();
    assert_eq!(row.len(), 1);
    assert_eq!(row[0].get::<String, _>("reason"), "write_failed");
    assert!(row[0].get::<String, _>("error").contains("no_mallory"));
    assert_eq!(row[0].get::<i32, _>("event_version"), 2);
    assert_eq!(fleet.database.count("select count(*) from user_directory.users").await, 40);
    assert_eq!(user_row(&fleet, mallory).await.unwrap().1, 1);
}

#[tokio::test]
async fn an_event_type_that_nobody_knows_is_skipped_counted_and_settled() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut client = connect(&store).await;
    let user = Uuid::now_v7();
    let events = vec![signed_up(user), event("UserTeleported", json!({"to": "Mars"})), email_updated(user, "a@mars")];
    client.append_events(append("User", user, events)).await.unwrap();

    let worker = fleet.worker("integration-events", &store).await;
    at_version(&fleet, user, 3).await;
    let status = settled(&fleet, 3).await;
    assert_eq!(status.parked, 0);
    let skipped = counter(
        &worker,
        r#"projection_events_total{mode="live",projection="user_directory",result="skipped",topic="integration-events"}"#,
    );
    let swept = counter(
        &worker,
        r#"projection_events_total{mode="sweep",projection="user_directory",result="skipped",topic="integration-events"}"#,
    );
    assert_eq!(skipped.await + swept.await, 1);
}

#[tokio::test]
async fn a_projection_of_another_version_of_the_code_is_not_written_to() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    sqlx::query("update projections set version = 99 where name = 'user_directory'")
        .execute(&fleet.database.pool)
        .await
        .unwrap();
    let user = Uuid::now_v7();
    connect(&store).await.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();
    let worker = fleet.worker("integration-events", &store).await;
    eventually("the worker says why it does not work", LIMIT, async || {
        let log = worker.logged();
        if log.iter().any(|line| line.contains("built by version 99")) { Ok(()) } else { Err(format!("{log:?}")) }
    })
    .await;
    assert_eq!(fleet.database.count("select count(*) from user_directory.users").await, 0);
    let report = fleet.database.lag().await;
    let status = report.projections.iter().find(|status| status.name == "user_directory").unwrap();
    assert_eq!(status.state, workers::lag::State::Outdated);
    assert_eq!(status.lag_events, 1, "the lag is honest all the same");
}
