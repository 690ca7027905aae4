//! Read your writes: waiting for what was appended, and looking at one aggregate.

use std::time::{Duration, Instant};

use events::{AggregateId, Position, Version};
use rand::Rng;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::apply::Mode;
use workers::audit::Attribution;
use workers::pause::{self, NewPause};
use workers::wait_for::{Error, MOST, Outcome, Waits, Wanted};

use crate::harness::client::{append, connect, email_updated, event, signed_up};
use crate::harness::parts::{LIMIT, Parts};
use crate::harness::{Admin, Fleet, Process, eventually};
use crate::histories::History;
use crate::sample::seeded;

async fn said(fleet: &Fleet, admin: &Process, args: &[&str]) -> (Option<i32>, String) {
    let builder = fleet.process(args[0]).await.env("FLEET_HTTP", &admin.http());
    let builder = args[1..].iter().fold(builder, |builder, arg| builder.arg(arg));
    let (status, out, error) = builder.output().await;
    (status.code(), out + &error)
}

async fn wait(admin: &Admin, query: &str) -> Value {
    let (status, answer) = admin.ask(&format!("/projections/user_directory/wait-for?{query}")).await;
    assert_eq!(status, StatusCode::OK, "{query}: {answer}");
    answer
}

#[tokio::test]
async fn whoever_waits_for_his_append_is_told_how_it_stands_and_never_waits_long() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let process = fleet.process("admin").await.start().await;
    let admin = Admin::of(&process);
    let mut client = connect(&store).await;
    let user = Uuid::now_v7();
    let appended =
        client.append_events(append("User", user, vec![signed_up(user), email_updated(user, "a@b.org")])).await;
    let position = appended.unwrap().into_inner().events[1].position;
    let token = format!("aggregate_id={user}&version=2&position={position}");

    // Nobody applies anything yet.
    let began = Instant::now();
    let behind = wait(&admin, &format!("{token}&timeout=0.2")).await;
    assert_eq!((&behind["outcome"], &behind["applied_version"]), (&json!("behind"), &json!(0)), "{behind}");
    assert_eq!((&behind["behind_positions"], behind.get("estimate_seconds")), (&json!(2), None), "{behind}");
    assert!(began.elapsed() < Duration::from_secs(10) && behind["waited_seconds"].as_f64().unwrap() >= 0.2, "{behind}");
    assert_eq!(wait(&admin, &format!("position={position}&timeout=0")).await["outcome"], "behind");
    let user_text = user.to_string();
    let args = ["wait-for", "user_directory", "--aggregate", &user_text, "--version", "2", "--timeout", "1s"];
    let (code, out) = said(&fleet, &process, &args).await;
    assert!(
        code == Some(3) && out == "user_directory: behind, 2 positions of the store, and nothing moved meanwhile\n",
        "{out}"
    );

    for (query, said) in [
        (format!("aggregate_id={}&version=1", Uuid::now_v7()), "has no event of aggregate"),
        (format!("aggregate_id={user}&version=3"), "in the store is 2"),
        (format!("aggregate_id={user}&version=2&position={}", position + 1), "is not the event of this token"),
        ("position=999999999".to_owned(), "the store has no position 999999999; its last is"),
    ] {
        let unknown = wait(&admin, &query).await;
        assert_eq!(unknown["outcome"], "unknown", "{query}: {unknown}");
        assert!(unknown["detail"].as_str().unwrap().contains(said), "{query}: {unknown}");
    }

    // It waits, and is told as soon as it is there.
    let waiting = tokio::spawn({
        let url = format!("http://{}/admin/v1/projections/user_directory/wait-for?{token}&timeout=30", process.http());
        async move { reqwest::get(url).await.unwrap().json::<Value>().await.unwrap() }
    });
    let worker = fleet.worker("integration-events", &store).await;
    let reached = waiting.await.unwrap();
    assert_eq!((&reached["outcome"], &reached["applied_version"]), (&json!("reached"), &json!(2)), "{reached}");
    let (code, out) =
        said(&fleet, &process, &["wait-for", "user_directory", "--position", &position.to_string()]).await;
    assert!(code == Some(0) && out == "user_directory: reached\n", "{out}");

    let goal = event("LearningGoalSet", json!({"user_id": user, "daily_goal": "thirty"}));
    client.append_events(append("User", user, vec![goal, email_updated(user, "c@d.org")])).await.unwrap();
    let held = eventually("it is held", LIMIT, async || {
        let answer = wait(&admin, &format!("aggregate_id={user}&version=4&timeout=5")).await;
        if answer["outcome"] == "held" { Ok(answer) } else { Err(answer.to_string()) }
    })
    .await;
    let letter = admin.get("/dead-letters?projection=user_directory").await["dead_letters"][0]["id"].clone();
    assert_eq!((&held["dead_letter"], &held["applied_version"]), (&letter, &json!(2)), "{held}");
    assert_eq!(wait(&admin, &format!("aggregate_id={user}&version=2")).await["outcome"], "reached");

    let by = json!({"actor": "ada", "reason": "a new index"});
    admin.post("/projections/user_directory/pause", &by).await;
    let other = Uuid::now_v7();
    client.append_events(append("User", other, vec![signed_up(other)])).await.unwrap();
    let paused = wait(&admin, &format!("aggregate_id={other}&version=1&timeout=30")).await;
    assert_eq!((&paused["outcome"], &paused["paused"]["actor"]), (&json!("paused"), &json!("ada")), "{paused}");
    admin.post("/projections/user_directory/resume", &by).await;
    assert_eq!(wait(&admin, &format!("aggregate_id={other}&version=1&timeout=30")).await["outcome"], "reached");
    drop(worker);

    for (query, field) in [
        ("", "query"),
        ("version=1", "aggregate_id"),
        (&*format!("aggregate_id={user}"), "version"),
        (&*format!("aggregate_id={user}&version=0"), "version"),
        ("position=0", "position"),
        ("position=1&timeout=31", "timeout"),
        ("position=1&timeout=-1", "timeout"),
        ("position=1&timeout=NaN", "timeout"),
        ("position=x", "query"),
        ("positoin=1", "query"),
    ] {
        let (status, problem) = admin.ask(&format!("/projections/user_directory/wait-for?{query}")).await;
        assert_eq!(
            (status, &problem["errors"][0]["field"]),
            (StatusCode::BAD_REQUEST, &json!(field)),
            "{query}: {problem}"
        );
    }
    let (status, problem) = admin.ask(&format!("/projections/vocabulary/wait-for?aggregate_id={user}&version=1")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(problem["detail"].as_str().unwrap().contains("vocabulary does not listen to events of User"), "{problem}");
    assert_eq!(admin.ask("/projections/user_director/wait-for?position=1").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_thousand_who_wait_cost_no_more_statements_than_one_and_one_more_is_refused() {
    let parts = Parts::new().await;
    let history = History::of(seeded().random(), 300);
    parts.load(&history.lines).await;
    let pool = &parts.database.pool;
    let projection = parts.applier("vocabulary").projection;
    let stop = CancellationToken::new();
    let reading = fleet::roles::pool(&parts.database.url, 4).unwrap();
    let waits = Waits::new(reading.clone(), stop.clone());
    let wanted = |version| Wanted {
        projection: projection.name(),
        topic: None,
        event: Some((AggregateId(Uuid::now_v7()), Version(version))),
        position: Position(300),
    };
    let commits = "select xact_commit from pg_stat_database where datname = current_database()";
    let before = parts.database.count(commits).await;
    let mut all = tokio::task::JoinSet::new();
    let began = Instant::now();
    for _ in 0..=MOST {
        let (waits, wanted) = (waits.clone(), wanted(1));
        all.spawn(async move { waits.wait(wanted, Duration::from_secs(2)).await });
    }
    let answers = all.join_all().await;
    let took = began.elapsed();
    let refused = answers.iter().filter(|answer| matches!(answer, Err(Error::TooMany))).count();
    let behind = answers.iter().flatten().filter(|answer| answer.outcome == Outcome::Behind).count();
    assert_eq!((refused, behind), (1, MOST));
    // What a session has done is told when it ends.
    reading.close().await;
    let seen = eventually("the statistics have come", LIMIT, async || {
        let seen = parts.database.count(commits).await - before;
        if seen >= 20 { Ok(seen) } else { Err(seen.to_string()) }
    })
    .await;
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(seen < 300, "{seen} statements in {took:?}: 20 a second at most, whoever waits");
    let waits = Waits::new(fleet::roles::pool(&parts.database.url, 4).unwrap(), stop.clone());

    // Whoever is gone makes room, and the turn goes on.
    let given_up = waits.wait(wanted(1), Duration::from_secs(30));
    assert!(tokio::time::timeout(Duration::from_millis(300), given_up).await.is_err());
    let events = parts.events(Position::START).await;
    let vocabulary = parts.applier("vocabulary").topic;
    let first = events.iter().find(|event| vocabulary.carries(&event.data.aggregate_type)).unwrap();
    let wanted = Wanted { event: Some((first.aggregate_id, first.version)), ..wanted(1) };
    let waiting = tokio::spawn({
        let waits = waits.clone();
        async move { waits.wait(wanted, Duration::from_secs(30)).await }
    });
    parts.apply(&events, Mode::Live).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().outcome, Outcome::Reached);

    let by = Attribution { actor: "ada".to_owned(), reason: "a test".to_owned() };
    let new = NewPause { seconds: None, replace: false, by, idempotency_key: None };
    pause::pause(pool, projection, &new).await.unwrap();
    let reached = waits.wait(wanted, Duration::ZERO).await.unwrap();
    assert_eq!(reached.outcome, Outcome::Reached, "what is there is there");
    stop.cancel();
    assert!(matches!(
        waits.wait(Wanted { event: None, position: Position(10_000), ..wanted }, LIMIT).await,
        Err(Error::Ending)
    ));
}

#[tokio::test]
async fn an_aggregate_is_looked_at_with_its_events_and_all_that_its_projections_make_of_it() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let worker = fleet.worker("integration-events", &store).await;
    let process = fleet.process("admin").await.start().await;
    let admin = Admin::of(&process);
    let mut client = connect(&store).await;
    let user = Uuid::now_v7();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let goal = || event("LearningGoalSet", json!({"user_id": user, "daily_goal": "thirty"}));
    let traced = event_store::proto::NewEvent {
        metadata: format!(r#"{{"traceparent":"00-{trace}-b7ad6b7169203331-01"}}"#),
        ..email_updated(user, "a@b.org")
    };
    client
        .append_events(append(
            "User",
            user,
            vec![signed_up(user), goal(), traced, goal(), email_updated(user, "c@d.org")],
        ))
        .await
        .unwrap();
    let path = format!("/aggregates/{user}");
    let standing = async |check: &dyn Fn(&Value) -> bool| {
        eventually("the projections have come so far", LIMIT, async || {
            let shown = admin.get(&path).await;
            let of = shown["projections"]
                .as_array()
                .unwrap()
                .iter()
                .find(|it| it["projection"] == "user_directory")
                .unwrap()
                .clone();
            let others = shown["projections"]
                .as_array()
                .unwrap()
                .iter()
                .all(|it| it["projection"] == "user_directory" || it["next"].is_null());
            if check(&of) && others { Ok((shown, of)) } else { Err(shown.to_string()) }
        })
        .await
    };
    let (shown, of) = standing(&|of| of["held"] == true).await;
    assert_eq!(
        (&shown["aggregate_type"], &shown["topic"], &shown["last_version"]),
        (&json!("User"), &json!("integration-events"), &json!(5))
    );
    assert_eq!(
        (&of["applied_version"], &of["next"]["version"], &of["next"]["event_type"]),
        (&json!(1), &json!(2), &json!("LearningGoalSet")),
        "{of}"
    );
    assert_eq!(
        (&of["dead_letter"]["version"], &of["dead_letter"]["reason"]),
        (&json!(2), &json!("wrong_data")),
        "{of}"
    );
    let listed: Vec<_> =
        shown["projections"].as_array().unwrap().iter().map(|it| it["projection"].as_str().unwrap()).collect();
    assert_eq!(listed, ["user_directory", "learning_time"]);
    let events = shown["events"].as_array().unwrap();
    let versions: Vec<_> = events.iter().map(|it| it["version"].as_i64().unwrap()).collect();
    assert_eq!(versions, [1, 2, 3, 4, 5]);
    assert_eq!(
        (&events[2]["trace_id"], events[1].get("trace_id"), &shown["next"]),
        (&json!(trace), None, &Value::Null)
    );
    assert!(!shown.to_string().contains("thirty") && !shown.to_string().contains("a@b.org"), "no payloads: {shown}");

    let letter = of["dead_letter"].clone();
    let body =
        json!({"event_id": events[1]["event_id"], "error": letter["error"], "actor": "ada", "reason": "never was"});
    let (_, operation) = admin.post(&format!("/dead-letters/{}/discard", letter["id"].as_str().unwrap()), &body).await;
    admin.succeeded(&operation).await;
    let (_, of) = standing(&|of| of["dead_letter"]["version"] == 4).await;
    assert_eq!(
        (&of["discarded"][0]["version"], &of["discarded"][0]["operation_id"]),
        (&json!(2), &operation["id"]),
        "{of}"
    );
    assert_eq!((&of["applied_version"], &of["more_discarded"]), (&json!(3), &json!(false)), "{of}");

    let page = admin.get(&format!("{path}?limit=2")).await;
    assert_eq!((page["events"].as_array().unwrap().len(), &page["next"]), (2, &json!(2)));
    let page = admin.get(&format!("{path}?after=2&limit=3")).await;
    assert_eq!((&page["events"][0]["version"], &page["next"]), (&json!(3), &Value::Null));
    let (code, out) = said(&fleet, &process, &["inspect", &user.to_string()]).await;
    assert!(code == Some(0) && out.starts_with(&format!("User {user} on integration-events, 5 versions\n")), "{out}");
    assert!(out.contains("4 LearningGoalSet, held at dead letter ") && out.contains(trace), "{out}");
    assert!(out.contains("user_directory goes on without version 2 (wrong_data), discarded "), "{out}");
    let (_, out) = said(&fleet, &process, &["inspect", &user.to_string(), "--after", "4", "--json"]).await;
    let one: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(one["events"].as_array().unwrap().len(), 1);
    drop(worker);

    for (path, status) in [
        ("/aggregates/nobody".to_owned(), StatusCode::NOT_FOUND),
        (format!("/aggregates/{}", Uuid::now_v7()), StatusCode::NOT_FOUND),
        (format!("{path}?limit=101"), StatusCode::BAD_REQUEST),
        (format!("{path}?limit=0"), StatusCode::BAD_REQUEST),
        (format!("{path}?before=1"), StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(admin.ask(&path).await.0, status, "{path}");
    }
}
