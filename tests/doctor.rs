//! `fleet doctor`: it says what is wrong, names what is lost, and has no good word for what it could not find out.

use std::time::{Duration, Instant};

use event_store::proto::NewEvent;
use rand::Rng;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;
use workers::apply::Mode;
use workers::losses;

use crate::dead_letters::{LIMIT, letters, poisoned_user};
use crate::harness::client::{append, connect, email_updated, event, signed_up};
use crate::harness::parts::{Parts, disorder};
use crate::harness::proxy::{Proxy, Weather};
use crate::harness::{Admin, Fleet, Process, eventually};
use crate::histories::History;
use crate::sample::seeded;

/// The exit code, and what was said; of a JSON, as one.
async fn doctor(address: &str, args: &[&str]) -> (Option<i32>, String) {
    let builder = Process::builder("doctor").env("FLEET_HTTP", address).env("FLEET_WAIT", "4");
    let (status, out, error) = args.iter().fold(builder, |builder, arg| builder.arg(arg)).output().await;
    (status.code(), out + &error)
}

async fn said(address: &str, args: &[&str]) -> (Option<i32>, Value) {
    let (code, out) = doctor(address, &[args, &["--json"]].concat()).await;
    (
        code,
        serde_json::from_str(out.lines().next().unwrap_or_default()).unwrap_or_else(|error| panic!("{error}: {out}")),
    )
}

fn runbooks(said: &Value) -> Vec<&str> {
    said["symptoms"].as_array().unwrap().iter().map(|it| it["runbook"].as_str().unwrap()).collect()
}

fn losses_of<'a>(said: &'a Value, projection: &str) -> &'a Value {
    let losses = said["losses"].as_array().unwrap().iter();
    losses.clone().find(|it| it["projection"] == projection).unwrap_or_else(|| panic!("{said}"))
}

fn goal(user: Uuid) -> NewEvent {
    event("LearningGoalSet", json!({"user_id": user, "daily_goal": "many"}))
}

#[tokio::test]
async fn a_healthy_fleet_is_called_healthy_after_all_of_it_was_compared() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let _workers = fleet.workers(&store).await;
    let admin = fleet.process("admin").await.start().await;
    let mut client = connect(&store).await;
    for _ in 0..5 {
        let user = Uuid::now_v7();
        let events = vec![signed_up(user), email_updated(user, "new@example.org")];
        client.append_events(append("User", user, events)).await.unwrap();
    }
    fleet.database.settled(10, LIMIT).await;
    let (code, out) = doctor(&admin.http(), &[]).await;
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("Is data late?      no:") && out.ends_with("\nHealthy.\n"), "{out}");
    assert!(
        out.contains("user_directory on integration-events: 10 events from 1 to 10 compared, which is all"),
        "{out}"
    );
    let (code, said) = said(&admin.http(), &["--whole"]).await;
    assert_eq!((code, &said["healthy"], &said["runbook"]), (Some(0), &json!(true), &Value::Null), "{said}");
    let users = losses_of(&said, "user_directory");
    assert_eq!(
        (&users["events"], &users["applied"], &users["next"]),
        (&json!(10), &json!(10), &Value::Null),
        "{users}"
    );
    for measured in ["lateness", "relays", "changes", "set_aside"] {
        assert!(said["diagnosis"][measured]["observed_at"].is_string(), "{measured}: {said}");
    }
}

#[tokio::test]
async fn of_a_dead_worker_it_says_which_stage_is_late_since_when_and_that_it_waits() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let admin = fleet.process("admin").await.start().await;
    let user = Uuid::now_v7();
    connect(&store).await.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();
    let (code, said) = said(&admin.http(), &["--late-after", "0"]).await;
    assert_eq!((code, said["runbook"].as_str()), (Some(3), Some("ProjectionStalled")), "{said}");
    let standings = said["diagnosis"]["lateness"]["projections"].as_array().unwrap();
    let late: Vec<_> = standings.iter().filter(|it| it["late"] == true).collect();
    assert!(!late.is_empty() && late.iter().all(|it| it["topic"] == "integration-events"), "{said}");
    let users = late.iter().find(|it| it["name"] == "user_directory").unwrap();
    assert_eq!((&users["stage"], &users["trend"]["direction"]), (&json!("worker"), &json!("same")), "{users}");
    assert!(users["since"].is_string() && users["trend"]["done_in_seconds"].is_null(), "{users}");
    // Nothing is settled, so that nothing was compared, which is not good either.
    assert!(said["unknown"].to_string().contains("no event was compared"), "{said}");

    let (code, out) = doctor(&admin.http(), &["--late-after", "0"]).await;
    assert_eq!(code, Some(3), "{out}");
    for line in [
        "YES: user_directory on integration-events by",
        "worker: no worker of the topic is at work",
        "the same: from 1 to 1 events",
        "it waits for a worker",
        "Unhealthy. What to do: fleet runbook ProjectionStalled",
    ] {
        assert!(out.contains(line), "{line}: {out}");
    }
}

#[tokio::test]
async fn what_is_parked_is_no_loss_and_ends_in_the_runbook_of_parked_events() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let worker = fleet.worker("integration-events", &store).await;
    let mut client = connect(&store).await;
    poisoned_user(&mut client, goal, 2).await;
    letters(&fleet, &Admin::of(&worker), 1).await;
    fleet.settled("integration-events", 4).await;
    let (code, said) = said(&worker.http(), &[]).await;
    assert_eq!((code, runbooks(&said)), (Some(3), vec!["ParkedEvents"]), "{said}");
    let users = losses_of(&said, "user_directory");
    let counts = ["events", "applied", "parked", "waiting", "lost"].map(|name| users[name].as_i64().unwrap());
    assert_eq!(counts, [4, 1, 1, 2, 0], "{users}");
    // What a person discards is applied as far as the counting goes, and counted for itself.
    let letter = Admin::of(&worker).get("/dead-letters").await["dead_letters"][0].clone();
    let discard = json!({"event_id": letter["event_id"], "error": letter["error"], "actor": "ada", "reason": "a test"});
    let path = format!("/dead-letters/{}/discard", letter["id"].as_str().unwrap());
    let (_, operation) = Admin::of(&worker).post(&path, &discard).await;
    Admin::of(&worker).succeeded(&operation).await;
    let (code, out) = doctor(&worker.http(), &[]).await;
    assert!(code == Some(0) && out.contains("are applied or skipped (1 of them discarded), 0 parked"), "{out}");
    assert!(out.contains("dead_letter.discard by ada: a test"), "what changed lately: {out}");
}

#[tokio::test]
async fn what_is_lost_is_found_and_named_whichever_way_the_ledger_was_spoilt() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let worker = fleet.worker("integration-events", &store).await;
    let mut client = connect(&store).await;
    let user = Uuid::now_v7();
    let events = vec![signed_up(user), email_updated(user, "a@example.org"), email_updated(user, "b@example.org")];
    client.append_events(append("User", user, events)).await.unwrap();
    fleet.settled("integration-events", 3).await;
    let spoil = async |sql: &'static str| sqlx::query(sql).execute(&fleet.database.pool).await.unwrap().rows_affected();
    for (sql, lost, ahead, shown) in [
        ("update projected_aggregates set version = 2 where projection = 'user_directory'", 1, 0, "at 3, version 3 of"),
        ("delete from projected_aggregates where projection = 'user_directory'", 3, 0, "at 1, version 1 of"),
        (
            "insert into projected_aggregates select name, generation, (select aggregate_id from events limit 1), 9
             from projections where name = 'user_directory'",
            0,
            1,
            "is applied to 9, which the store does not have",
        ),
        // Held by nothing: nobody will ever let it go on.
        (
            "update projected_aggregates set version = 1, held = true where projection = 'user_directory'",
            2,
            0,
            "at 2, version 2 of",
        ),
    ] {
        assert_eq!(spoil(sql).await, 1, "{sql}");
        let (code, said) = said(&worker.http(), &[]).await;
        assert_eq!((code, said["runbook"].as_str()), (Some(3), Some("EventsLost")), "{sql}: {said}");
        let users = losses_of(&said, "user_directory");
        assert_eq!((&users["lost"], &users["ahead"]), (&json!(lost), &json!(ahead)), "{sql}: {users}");
        assert_eq!(users["examples"][0]["aggregate_id"], json!(user), "{users}");
        let (_, out) = doctor(&worker.http(), &[]).await;
        assert!(out.contains(shown) && out.contains(&user.to_string()), "{sql}: {out}");
        assert!(out.contains("Unhealthy. What to do: fleet runbook EventsLost"), "{out}");
    }
}

#[tokio::test]
async fn while_the_database_is_away_it_says_so_at_once_and_without_a_fleet_it_ends_with_5() {
    let fleet = Fleet::new().await;
    let proxy = Proxy::before(&fleet.database.url).await;
    let admin = fleet.process("admin").await.env("DATABASE_URL", &proxy.url).start().await;
    for weather in [Weather::BlackHole, Weather::Down] {
        proxy.set(weather.clone());
        let said = eventually("it says that the database is away", LIMIT, async || {
            let began = Instant::now();
            let (code, said) = said(&admin.http(), &[]).await;
            assert!(began.elapsed() < Duration::from_secs(10), "{:?}: {said}", began.elapsed());
            assert_eq!((code, &said["healthy"]), (Some(3), &json!(false)), "{weather:?}: {said}");
            if said["runbook"] == "DatabaseAway" { Ok(said) } else { Err(said.to_string()) }
        })
        .await;
        assert!(said["symptoms"][0]["what"].as_str().unwrap().contains("cannot work with its database"), "{said}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let (code, out) = doctor(&nobody, &[]).await;
    assert!(code == Some(5) && out.contains("no fleet answers at"), "{out}");
}

/// The promise itself, on any history, by parts of any size.
#[tokio::test]
async fn events_of_the_store_are_applied_parked_or_waiting_and_their_sum_is_all_there_is() {
    let mut rng = seeded();
    let parts = Parts::new().await;
    let history = History::of(rng.random(), 3000).poison(rng.random(), 0.05);
    parts.load(&history.lines).await;
    let events = parts.events(events::Position::START).await;
    parts.apply(&disorder(&events, 2, 0.3, &mut rng), Mode::Live).await.unwrap();
    parts.sweep().await;
    let pool = &parts.database.pool;
    let (mut waiting, mut compared) = (0, 0);
    for applier in &parts.appliers {
        let (projection, topic) = (applier.projection, applier.topic);
        let mut counted = losses::count(pool, projection, topic, None, Duration::ZERO).await.unwrap();
        while let Some(next) = counted.next {
            counted.and(losses::count(pool, projection, topic, Some(next), Duration::ZERO).await.unwrap());
        }
        assert!(counted.is_whole(), "{counted:?}");
        assert_eq!(counted.applied + counted.parked + counted.waiting, counted.events, "{counted:?}");
        let stored: i64 = sqlx::query_scalar("select count(*) from events where aggregate_type = any($1)")
            .bind(topic.aggregate_types)
            .fetch_one(pool)
            .await
            .unwrap();
        assert_eq!(counted.events, stored, "{counted:?}");
        let letters: i64 =
            sqlx::query_scalar("select count(*) from parked_events where projection = $1 and topic = $2")
                .bind(projection.name())
                .bind(topic.name)
                .fetch_one(pool)
                .await
                .unwrap();
        assert_eq!(counted.parked, letters, "{counted:?}");
        waiting += counted.waiting;
        compared += counted.events;
    }
    assert!(waiting > 0 && compared > 3000, "{waiting} of {compared}");
}

/// Somebody holds a table that is asked: what is late nobody can say, and who is in the way everybody, also when it was asked
/// again and again.
#[tokio::test]
async fn who_keeps_the_lag_from_being_measured_is_named_at_once() {
    let fleet = Fleet::new().await;
    let admin = fleet.process("admin").await.start().await;
    for table in ["processed_event_ids", "projection_progress", "events"] {
        let mut holder = fleet.database.pool.begin().await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("lock table {table}"))).execute(&mut *holder).await.unwrap();
        let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *holder).await.unwrap();
        let held = format!("the fleet waits for the table {table}, held by pid {pid} (");
        for _ in 0..4 {
            let (code, said) = said(&admin.http(), &[]).await;
            assert!(code == Some(3) && runbooks(&said)[0] == "LagTelemetryStale", "{table}: {said}");
            assert!(said["symptoms"][0]["what"].as_str().unwrap().contains(&held), "{table}: {said}");
        }
        holder.rollback().await.unwrap();
    }
    // Not asked for what is late, but for whether it is published.
    let mut holder = fleet.database.pool.begin().await.unwrap();
    sqlx::raw_sql("lock table relay_cursors").execute(&mut *holder).await.unwrap();
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *holder).await.unwrap();
    let (code, found) = said(&admin.http(), &[]).await;
    assert!(code == Some(3) && runbooks(&found) == ["RelayLeadership"], "{found}");
    let what = found["symptoms"][0]["what"].as_str().unwrap();
    assert!(what.contains(&format!("the fleet waits for the table relay_cursors, held by pid {pid} (")), "{what}");
    holder.rollback().await.unwrap();
    let mut holder = fleet.database.pool.begin().await.unwrap();
    sqlx::raw_sql("lock table events").execute(&mut *holder).await.unwrap();
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *holder).await.unwrap();
    let held = format!("the fleet waits for the table events, held by pid {pid} (");
    let began = Instant::now();
    let status = Process::builder("status").env("FLEET_HTTP", &admin.http()).env("FLEET_WAIT", "2").output();
    let (code, out, error) = status.await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(code.code() == Some(3) && error.contains(&held), "{code}: {out}{error}");
    let (_, out) = doctor(&admin.http(), &[]).await;
    assert!(out.contains("Is data late?      not known") && out.contains("runbook LagTelemetryStale"), "{out}");
    holder.rollback().await.unwrap();
}

/// Somebody holds a table that is asked for all else: the admin is well, and cannot measure.
#[tokio::test]
async fn a_fleet_that_is_ready_and_cannot_answer_is_not_asked_for_ever() {
    let fleet = Fleet::new().await;
    let admin = fleet.process("admin").await.start().await;
    let mut holder = fleet.database.pool.begin().await.unwrap();
    sqlx::raw_sql("lock table operations_stop").execute(&mut *holder).await.unwrap();
    let status = Process::builder("status").env("FLEET_HTTP", &admin.http()).env("FLEET_WAIT", "1").output();
    let (code, out, error) = tokio::time::timeout(LIMIT, status).await.expect("it gives up");
    assert!(code.code() == Some(3) && error.contains("cannot answer now"), "{code}: {out}{error}");
    holder.rollback().await.unwrap();
}
