//! Pausing a projection: nothing is written to it, whoever comes, and everything is there afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kill_points::hold_at;
use rand::Rng;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::apply::Mode;
use workers::audit::Attribution;
use workers::pause::{self, NewPause, Refused};
use workers::sweep::Sweep;

use crate::harness::client::{append, connect, event, signed_up};
use crate::harness::parts::{LIMIT, Parts, apply};
use crate::harness::{Admin, Fleet, Process, eventually};
use crate::sample::seeded;

/// Within this time every worker has taken notice.
const NOTICE: Duration = Duration::from_secs(2);

fn ada() -> Attribution {
    Attribution { actor: "ada".to_owned(), reason: "a new index".to_owned() }
}

fn for_good() -> NewPause {
    NewPause { seconds: None, replace: false, by: ada(), idempotency_key: None }
}

async fn said(fleet: &Fleet, admin: &Process, args: &[&str]) -> (bool, String) {
    let builder = fleet.process(args[0]).await.env("FLEET_HTTP", &admin.http()).env("FLEET_ACTOR", "ada");
    let builder = args[1..].iter().fold(builder, |builder, arg| builder.arg(arg));
    let (status, out, error) = builder.output().await;
    (status.success(), out + &error)
}

async fn status(admin: &Admin, projection: &str) -> Value {
    admin.get(&format!("/projections/{projection}?topic=integration-events")).await
}

async fn lag(admin: &Admin, projection: &str, expected: i64) -> Value {
    eventually(&format!("the lag of {projection} is {expected}"), LIMIT, async || {
        let status = status(admin, projection).await;
        if status["lag_events"] == expected { Ok(status) } else { Err(status.to_string()) }
    })
    .await
}

/// A sweep looked at the projection after this.
async fn swept(fleet: &Fleet, projection: &'static str) {
    let asked = Instant::now();
    eventually("a sweep has looked", LIMIT, async || {
        let silence: Option<f64> = sqlx::query_scalar(
            "select extract(epoch from clock_timestamp() - max(swept_at))::float8 from projection_progress where projection = $1",
        )
        .bind(projection)
        .fetch_one(&fleet.database.pool)
        .await
        .unwrap();
        if silence.is_some_and(|silence| silence < asked.elapsed().as_secs_f64()) { Ok(()) } else { Err(format!("{silence:?}")) }
    })
    .await;
}

#[tokio::test]
async fn nothing_is_applied_to_a_paused_projection_by_anybody_and_its_siblings_go_on() {
    const USERS: &str = "select count(*) from user_directory.users";
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut worker = fleet.worker("integration-events", &store).await;
    let process = fleet.process("admin").await.start().await;
    let admin = Admin::of(&process);
    let mut client = connect(&store).await;

    let poisoned = Uuid::now_v7();
    let goal = event("LearningGoalSet", json!({"user_id": poisoned, "daily_goal": "thirty"}));
    client.append_events(append("User", poisoned, vec![signed_up(poisoned), goal])).await.unwrap();
    let letter = eventually("it is parked", LIMIT, async || {
        let letters = admin.get("/dead-letters?projection=user_directory").await;
        letters["dead_letters"][0]["id"].as_str().map(str::to_owned).ok_or_else(|| letters.to_string())
    })
    .await;
    lag(&admin, "user_directory", 0).await;

    let (ok, out) =
        said(&fleet, &process, &["pause", "user_directory", "--reason", "a new index", "--for", "2h"]).await;
    assert!(ok && out.starts_with("user_directory is paused by ada since "), "{out}");
    assert!(out.contains(" until 2") && out.ends_with(": a new index\n"), "{out}");

    for _ in 0..20 {
        let user = Uuid::now_v7();
        client.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();
    }
    let began = Instant::now();
    lag(&admin, "learning_time", 0).await;
    // It is not left behind as one that is slow is: nobody waits for it, and what came is acknowledged.
    assert!(began.elapsed() < Duration::from_secs(5) || std::env::var_os("CI").is_some(), "{:?}", began.elapsed());
    let paused = lag(&admin, "user_directory", 20).await;
    assert_eq!((&paused["state"], &paused["paused"]["actor"]), (&json!("paused"), &json!("ada")), "{paused}");
    assert_eq!(paused["paused"]["reason"], "a new index");
    assert!(paused["paused"]["since"].is_string() && paused["paused"]["until"].is_string(), "{paused}");
    assert!(paused["settled_position"].as_i64().unwrap() <= 2, "{paused}");
    let (_, out) = said(&fleet, &process, &["status"]).await;
    assert!(out.contains("user_directory is paused by ada since ") && out.contains(" paused "), "{out}");

    let (_, replay) = admin.post("/replays", &json!({"projection": "user_directory"})).await;
    let (_, redrive) = admin.post(&format!("/dead-letters/{letter}/retry"), &json!({})).await;
    let path = |operation: &Value| format!("/operations/{}", operation["id"].as_str().unwrap());
    worker.kill();
    worker = fleet.worker("integration-events", &store).await;
    swept(&fleet, "user_directory").await;
    for operation in [&replay, &redrive] {
        let shown = admin.get(&path(operation)).await;
        assert_eq!(shown["state"], "pending", "{shown}");
        let waits = shown["waits"].as_str().unwrap();
        assert!(waits.starts_with("projection user_directory is paused by ada until 2"), "{waits}");
        assert!(waits.ends_with(": a new index"), "{waits}");
    }
    assert_eq!(fleet.database.count(USERS).await, 1, "nothing was written since the pause");
    assert_eq!(status(&admin, "user_directory").await["lag_events"], 20);
    let metrics = reqwest::get(format!("http://{}/metrics", process.http())).await.unwrap().text().await.unwrap();
    let of = |projection| format!("projection_paused{{projection=\"{projection}\",topic=\"integration-events\"}}");
    assert!(
        metrics.contains(&(of("user_directory") + " 1")) && metrics.contains(&(of("learning_time") + " 0")),
        "{metrics}"
    );

    let (ok, out) = said(&fleet, &process, &["resume", "user_directory", "--reason", "the index is there"]).await;
    assert!(ok && out == "user_directory goes on\n", "{out}");
    let resumed = lag(&admin, "user_directory", 0).await;
    assert_eq!(resumed.get("paused"), None);
    assert_eq!(fleet.database.count(USERS).await, 21);
    admin.succeeded(&replay).await;
    let redriven = admin.failed(&redrive).await;
    assert_eq!((&redriven["parked"], redriven.get("waits")), (&json!(1), None), "{redriven}");
    drop(worker);

    let audit = admin.get("/audit").await;
    let entry = |action: &str| audit["entries"].as_array().unwrap().iter().find(|it| it["action"] == action).cloned();
    let (paused, resumed) = (entry("projection.pause").unwrap(), entry("projection.resume").unwrap());
    assert_eq!((&paused["actor"], &paused["detail"]["seconds"]), (&json!("ada"), &json!(7200)));
    assert_eq!(resumed["detail"]["paused"]["reason"], "a new index");
}

/// What applied versions there are, in one number that any write changes.
async fn written(pool: &PgPool) -> i64 {
    sqlx::query_scalar(
        "select coalesce(sum(version), 0)::bigint + count(*) from projected_aggregates where projection = 'vocabulary'",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

/// Writers share the lock of the fence, and one after the other could keep whoever pauses out for ever.
#[tokio::test]
async fn a_pause_gets_in_among_busy_writers_and_after_its_answer_nothing_is_committed() {
    let (parts, history) = Parts::with_history(seeded().random(), 6000).await;
    let pool = &parts.database.pool;
    let applier = parts.applier("vocabulary").clone();
    let events = parts.events(events::Position::START).await;
    let types = applier.topic.aggregate_types;
    let ours: Vec<_> = events.iter().filter(|it| types.contains(&it.data.aggregate_type.as_str())).cloned().collect();
    let ours = Arc::new(ours);
    let answered = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (applier, ours, answered) = (applier.clone(), ours.clone(), answered.clone());
        writers.spawn(async move {
            // What is applied already is fenced and locked all the same.
            loop {
                for batch in ours.chunks(3) {
                    let began_after = answered.load(Ordering::SeqCst);
                    match applier.apply(batch, Mode::Live).await {
                        Ok(_) => assert!(!began_after, "what began after the answer must not get in"),
                        Err(error) if error.is_paused() => return,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        });
    }
    eventually("they are at it", LIMIT, async || {
        let written = written(pool).await;
        if written > 100 { Ok(()) } else { Err(written.to_string()) }
    })
    .await;
    let began = Instant::now();
    pause::pause(pool, applier.projection, &for_good()).await.unwrap();
    let at_answer = written(pool).await;
    answered.store(true, Ordering::SeqCst);
    let took = began.elapsed();
    writers.join_all().await;
    assert!(took < NOTICE, "{took:?}");
    assert_eq!(written(pool).await, at_answer);

    pause::resume(pool, applier.projection, &ada(), None).await.unwrap();
    parts.converge(&history.held()).await;
}

#[tokio::test]
async fn a_pause_waits_for_the_write_that_is_under_way_and_lets_no_other_in() {
    let (parts, history) = Parts::with_history(seeded().random(), 400).await;
    let pool = parts.database.pool.clone();
    let applier = parts.applier("vocabulary").clone();
    let events = parts.events(events::Position::START).await;
    let (first, second) = events.split_at(events.len() / 2);
    let (first, second) = (first.to_vec(), second.to_vec());
    let writing = applier.clone();
    let held = hold_at("apply.recorded", async move { apply(&writing, &first, Mode::Live).await }).await;
    let projection = applier.projection;
    let pausing = tokio::spawn({
        let pool = pool.clone();
        async move { pause::pause(&pool, projection, &for_good()).await }
    });
    let waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted and database = (
        select oid from pg_database where datname = current_database())";
    let waits = async |count| {
        eventually("they wait", LIMIT, async || {
            let waits = parts.database.count(waiting).await;
            if waits == count { Ok(()) } else { Err(waits.to_string()) }
        })
        .await;
    };
    waits(1).await;
    let late = tokio::spawn(async move { apply(&applier, &second, Mode::Live).await });
    waits(2).await;
    assert!(!pausing.is_finished() && !late.is_finished());
    held.go().await.unwrap();
    pausing.await.unwrap().unwrap();
    assert!(late.await.unwrap().unwrap_err().is_paused());
    pause::resume(&pool, projection, &ada(), None).await.unwrap();
    parts.converge(&history.held()).await;
}

#[tokio::test]
async fn a_pause_that_was_limited_ends_by_itself_and_is_not_resumed() {
    let (parts, history) = Parts::with_history(seeded().random(), 200).await;
    let pool = &parts.database.pool;
    let applier = parts.applier("vocabulary").clone();
    let projection = applier.projection;
    let new = NewPause { seconds: Some(3600), ..for_good() };
    let switched = pause::pause(pool, projection, &new).await.unwrap();
    let pause = switched.paused.unwrap();
    assert_eq!((pause.until.unwrap() - pause.since).num_seconds(), 3600);
    let (stop, head) = (CancellationToken::new(), event_store::tail::Head::default());
    let sweep = Sweep { applier, head, grace: Duration::ZERO };
    let sweeping = tokio::spawn(sweep.run(stop.clone()));
    let shown = parts.database.lag().await;
    let shown = shown.projections.iter().find(|status| status.name == "vocabulary").unwrap();
    assert_eq!(shown.paused.as_ref(), Some(&pause));
    assert_eq!(written(pool).await, 0);
    // As if the hour had passed by the database's clock.
    let past =
        "update projections set paused_at = now() - interval '1 h', paused_until = now() where paused_by is not null";
    sqlx::query(past).execute(pool).await.unwrap();
    let resumed = pause::resume(pool, projection, &ada(), None).await.unwrap_err();
    assert!(matches!(&resumed, Refused::NotPaused { expired: Some(_), .. }), "{resumed}");
    assert!(resumed.to_string().contains("vocabulary is not paused; it was by ada since "), "{resumed}");
    eventually("it goes on by itself", LIMIT, async || {
        let written = written(pool).await;
        if written > 0 { Ok(()) } else { Err("nothing is written".to_owned()) }
    })
    .await;
    let again = pause::pause(pool, projection, &new).await.unwrap();
    assert!(again.paused.unwrap().since > pause.since, "what has expired is in nobody's way");
    pause::resume(pool, projection, &ada(), None).await.unwrap();
    stop.cancel();
    sweeping.await.unwrap();
    parts.converge(&history.held()).await;
}

#[tokio::test]
async fn what_is_refused_says_why_and_changes_nothing() {
    let fleet = Fleet::new().await;
    let process = fleet.process("admin").await.start().await;
    let admin = Admin::of(&process);
    let by = json!({"actor": "ada", "reason": "a test"});
    let with = |more: Value| {
        let mut body = by.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (path, body, expected, said) in [
        ("pause", json!({}), StatusCode::BAD_REQUEST, "actor"),
        ("pause", json!({"actor": "ada", "reason": " "}), StatusCode::BAD_REQUEST, "reason: must say something"),
        ("pause", json!({"actor": "", "reason": "a test"}), StatusCode::BAD_REQUEST, "actor: must say something"),
        ("pause", with(json!({"seconds": 0})), StatusCode::BAD_REQUEST, "seconds: must be 1 to"),
        ("pause", with(json!({"seconds": 99_999_999})), StatusCode::BAD_REQUEST, "seconds: must be 1 to"),
        ("pause", with(json!({"seconds": -1})), StatusCode::BAD_REQUEST, "seconds"),
        ("pause", with(json!({"until": "noon"})), StatusCode::BAD_REQUEST, "until"),
        ("resume", with(json!({"seconds": 1})), StatusCode::BAD_REQUEST, "seconds"),
        ("resume", by.clone(), StatusCode::CONFLICT, "vocabulary is not paused"),
    ] {
        let (status, problem) = admin.post(&format!("/projections/vocabulary/{path}"), &body).await;
        assert_eq!(status, expected, "{body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(said), "{body}: {problem}");
    }
    for verb in ["pause", "resume"] {
        let (status, problem) = admin.post(&format!("/projections/vocabularry/{verb}"), &by).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(problem["detail"].as_str().unwrap().contains("did you mean vocabulary?"), "{problem}");
    }
    let done = "select (select count(*) from operations) + (select count(*) from audit_log)
                    + (select count(*) from projections where paused_at is not null)";
    assert_eq!(fleet.database.count(done).await, 0, "nothing was done");

    // One of twenty at once has its way, with its line in the audit log.
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..20 {
        let (url, body) = (
            format!("http://{}/admin/v1/projections/vocabulary/pause", process.http()),
            with(json!({"seconds": 600 + number})),
        );
        asking.spawn(async move { reqwest::Client::new().post(url).json(&body).send().await.unwrap().status() });
    }
    let answers = asking.join_all().await;
    let of = |wanted: StatusCode| answers.iter().filter(|status| **status == wanted).count();
    assert_eq!((of(StatusCode::OK), of(StatusCode::CONFLICT)), (1, 19), "{answers:?}");
    assert_eq!(fleet.database.count(done).await, 3);

    let (status, problem) = admin.post("/projections/vocabulary/pause", &by).await;
    assert_eq!((status, &problem["type"]), (StatusCode::CONFLICT, &json!("urn:fleet:paused-already")));
    assert!(problem["detail"].as_str().unwrap().contains("paused already, by ada since "), "{problem}");
    let (ok, out) = said(&fleet, &process, &["pause", "vocabulary", "--reason", "longer", "--replace"]).await;
    assert!(ok && out.contains("until it is resumed: longer"), "{out}");

    // One key, one result, also when the projection has gone on meanwhile.
    let resume = async |key| admin.post_with_key("/projections/vocabulary/resume", &by, key).await;
    let first = resume("key-1").await;
    assert_eq!((first.0, &first.1["paused"]), (StatusCode::OK, &Value::Null));
    assert_eq!(resume("key-1").await, first);
    assert_eq!(resume("key-2").await.0, StatusCode::CONFLICT);
    let pause = async |key, seconds| {
        admin.post_with_key("/projections/vocabulary/pause", &with(json!({"seconds": seconds})), key).await
    };
    let first = pause("key-3", 60).await;
    assert_eq!(pause("key-3", 60).await, first);
    let shown = admin.get("/projections/vocabulary").await;
    assert_eq!(shown["paused"], first.1["paused"], "what was answered is what is shown, to the microsecond");
    for (status, problem) in [pause("key-3", 61).await, resume("key-3").await, pause("key-1", 60).await] {
        assert_eq!(
            (status, &problem["type"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!("urn:fleet:idempotency-key-reuse"))
        );
    }
    resume("key-4").await;
    assert_eq!(pause("key-3", 60).await, first, "which pauses nothing again");
    assert_eq!(admin.get("/projections/vocabulary").await.get("paused"), None);
}
