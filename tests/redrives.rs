//! What becomes of a decision to try again: the dead letter, what waits behind it, and who else is at work meanwhile.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::dead_letters::{BREAK, FIX, LIMIT, command, execute, held, letters, mallory, poisoned_user, row_of};
use crate::harness::client::{SAMPLE_EVENTS, append, connect, email_updated, event, load_sample, signed_up};
use crate::harness::{Admin, Fleet, eventually, expected};

#[tokio::test]
async fn a_redrive_applies_the_dead_letter_and_all_that_waits_behind_it_in_order() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut client = connect(&store).await;
    execute(&fleet, BREAK).await;
    let worker = fleet.worker("integration-events", &store).await;
    let admin = Admin::of(&worker);
    // More than one step of a redrive takes.
    let user = poisoned_user(&mut client, mallory, 450).await;
    let letter = letters(&fleet, &admin, 1).await.remove(0);
    assert_eq!((&letter["reason"], &letter["event_version"]), (&json!("write_failed"), &json!(2)));
    assert_eq!((&letter["waiting"], &letter["attempts"]), (&json!(450), &json!(1)));
    assert_eq!(row_of(&fleet, user).await.1, 1);

    // Too early: the same event is parked again, nothing is worse, and the command says so.
    let all = ["retry", "--projection", "user_directory", "--yes", "--reason", "the fix of TICKET-7 is out"];
    let (ok, out) = command(&fleet, &worker, &all).await;
    assert!(!ok && out.contains("waiting behind them: 450") && out.contains("0 applied, 1 parked"), "{out}");
    let again = letters(&fleet, &admin, 1).await.remove(0);
    assert_eq!((&again["id"], &again["attempts"], &again["decision"]), (&letter["id"], &json!(2), &Value::Null));

    execute(&fleet, FIX).await;
    let (ok, out) = command(&fleet, &worker, &all).await;
    assert!(ok && out.contains("451 applied, 0 parked"), "{out}");
    assert_eq!(row_of(&fleet, user).await, (Some("mallory449@example.org".to_owned()), 452));
    assert_eq!(held(&fleet).await, 0);
    assert_eq!(admin.get("/dead-letters").await["dead_letters"], json!([]));

    client.append_events(append("User", user, vec![email_updated(user, "live@example.org")])).await.unwrap();
    eventually("live events flow again", LIMIT, async || {
        let row = row_of(&fleet, user).await;
        if row.1 == 453 { Ok(()) } else { Err(format!("{row:?}")) }
    })
    .await;
    let audit = admin.get("/audit").await;
    let entries = audit["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0]["action"], "dead_letter.retry");
    assert_eq!(entries[0]["reason"], "the fix of TICKET-7 is out");
}

#[tokio::test]
async fn a_later_event_that_fails_in_a_redrive_is_the_next_dead_letter() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut client = connect(&store).await;
    execute(&fleet, BREAK).await;
    let worker = fleet.worker("integration-events", &store).await;
    let admin = Admin::of(&worker);
    let user = poisoned_user(&mut client, mallory, 3).await;
    let goal = event("LearningGoalSet", json!({"user_id": user, "daily_goal": "many"}));
    client.append_events(append("User", user, vec![goal, email_updated(user, "last@example.org")])).await.unwrap();
    let first = letters(&fleet, &admin, 1).await.remove(0);
    assert_eq!(first["waiting"], 5);

    execute(&fleet, FIX).await;
    let path = format!("/dead-letters/{}/retry", first["id"].as_str().unwrap());
    let (status, operation) = admin.post(&path, &json!({})).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{operation}");
    let done = admin.failed(&operation).await;
    assert_eq!((&done["applied"], &done["parked"], &done["seen"]), (&json!(4), &json!(1), &json!(1)));
    assert_eq!(done["error"], "4 applied, 1 parked: the dead letters say why");
    let next = letters(&fleet, &admin, 1).await.remove(0);
    assert_ne!(next["id"], first["id"]);
    assert_eq!(
        (&next["reason"], &next["event_version"], &next["waiting"]),
        (&json!("wrong_data"), &json!(6), &json!(1))
    );
    assert_eq!(row_of(&fleet, user).await, (Some("mallory2@example.org".to_owned()), 5));
    assert_eq!(held(&fleet).await, 1);
}

#[tokio::test]
async fn a_sweep_that_looked_before_a_hold_ended_does_not_settle_what_was_held() {
    let fleet = Fleet::new().await;
    let builder = fleet.process("event-store").await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0");
    let store = builder.env("FLEET_NO_RELAY", "true").start().await;
    let user = Uuid::now_v7();
    // The user is held with nothing applied, as if its first event had been parked.
    sqlx::query("insert into projected_aggregates values ('user_directory', 1, $1, 0, true)")
        .bind(user)
        .execute(&fleet.database.pool)
        .await
        .unwrap();
    let _worker = fleet.worker_builder("integration-events", &store).await.env("FLEET_SWEEP_GRACE", "0").start().await;
    eventually("it sweeps", LIMIT, async || {
        let alive =
            "select count(*) from projection_progress where projection = 'user_directory' and swept_at is not null";
        if fleet.database.count(alive).await > 0 { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    // As if it had just said that it is alive: what it writes next is how far it has settled.
    execute(&fleet, "update projection_progress set swept_at = clock_timestamp() where projection = 'user_directory'")
        .await;
    // As a release does: lock the progress row, end the hold, commit. In between, a sweep has looked and waits.
    let mut release = fleet.database.pool.begin().await.unwrap();
    sqlx::query("update projection_progress set releases = releases + 1 where projection = 'user_directory'")
        .execute(&mut *release)
        .await
        .unwrap();
    connect(&store).await.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();
    eventually("a sweep waits to settle", LIMIT, async || {
        let waiting = "select count(*) from pg_stat_activity where datname = current_database() \
                       and wait_event_type = 'Lock' and query like '%settled_position%'";
        let waiting = fleet.database.count(waiting).await;
        if waiting > 0 { Ok(()) } else { Err("nobody waits".to_owned()) }
    })
    .await;
    sqlx::query("update projected_aggregates set held = false").execute(&mut *release).await.unwrap();
    release.commit().await.unwrap();
    eventually("the event is applied", LIMIT, async || {
        let users = fleet.database.count("select count(*) from user_directory.users").await;
        if users == 1 { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
}

#[tokio::test]
async fn a_redrive_that_is_killed_five_times_with_two_workers_at_it_ends_in_the_right_rows() {
    let fleet = Fleet::apart().await;
    let store = fleet.event_store().await;
    execute(
        &fleet,
        "alter table learner_journeys.learner_journeys
         add constraint poison check (md5(session_id::text) not like '0%')",
    )
    .await;
    load_sample(&store).await;
    let mut others = fleet.workers(&store).await;
    let mut workers = vec![others.remove(1)];
    let admin_process = fleet.process("admin").await.start().await;
    let admin = Admin::of(&admin_process);
    fleet.database.settled(SAMPLE_EVENTS, Duration::from_secs(240)).await;
    let poisoned = fleet.database.count("select count(*) from parked_events").await;
    assert!(poisoned > 30, "{poisoned}");
    assert_eq!(held(&fleet).await, poisoned);
    let journeys = "select count(*) from learner_journeys.learner_journeys";
    assert_eq!(fleet.database.count(journeys).await, 1100 - poisoned, "nobody else is held");

    execute(&fleet, "alter table learner_journeys.learner_journeys drop constraint poison").await;
    workers.push(fleet.worker("progress-events", &store).await);
    let filter = json!({"projection": "learner_journeys"});
    let (_, plan) = admin.post("/dead-letter-batches", &json!({"filter": filter})).await;
    assert_eq!(plan["selected"], poisoned);
    // Slow enough to be killed in the middle.
    let run = json!({"filter": filter, "dry_run": false, "plan_token": plan["plan_token"], "rate": 200});
    let (_, operation) = admin.post("/dead-letter-batches", &run).await;
    let path = format!("/operations/{}", operation["id"].as_str().unwrap());
    let mut killed_in_the_middle = 0;
    for kill in 0..5 {
        let before = admin.get(&path).await["seen"].as_i64().unwrap();
        eventually("the redrive goes on", LIMIT, async || {
            let now = admin.get(&path).await;
            if now["seen"].as_i64().unwrap() > before || now["state"] == "succeeded" {
                Ok(())
            } else {
                Err(now.to_string())
            }
        })
        .await;
        killed_in_the_middle += i32::from(admin.get(&path).await["state"] != "succeeded");
        workers.remove(0).kill();
        workers.push(fleet.worker("progress-events", &store).await);
        println!("kill {kill} after {before} of {poisoned}");
    }
    assert!(killed_in_the_middle >= 3, "the kills came too late: {killed_in_the_middle}");
    let done = admin.succeeded(&operation).await;
    assert_eq!((&done["seen"], &done["parked"]), (&json!(poisoned), &json!(0)), "{done}");
    assert_eq!(held(&fleet).await, 0);
    fleet.database.settled(SAMPLE_EVENTS, LIMIT).await;
    expected::assert_sample(&fleet.database.pool).await;
}
