//! Operations as on-call steers them: how fast one goes, the switch that stops all of them, and which of them stand still.

use std::time::{Duration, Instant};

use rand::Rng;
use reqwest::header::{CONTENT_TYPE, ETAG, HeaderMap, IF_MATCH};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::Connection;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::audit::Attribution;
use workers::generations::rebuild::{self, NewRebuild};
use workers::generations::verify;
use workers::operations::rate::{self, NewRate};
use workers::operations::stop::{self, NewStop, Unswitched};
use workers::operations::{self, Operation, Rate, State};
use workers::replay::{self, NewReplay, Replays, Selection};

use crate::alerts::burst;
use crate::generations::Keeping;
use crate::harness::parts::{LIMIT, Parts};
use crate::harness::{Admin, Fleet, Process, catalogue, eventually};
use crate::sample::seeded;

const PROGRESS: &str = "learner_progress";

/// Within this time everybody who works on an operation has taken notice.
const NOTICE: Duration = Duration::from_secs(2);

fn ada() -> Attribution {
    Attribution { actor: "ada".to_owned(), reason: "the database is busy".to_owned() }
}

async fn rebuilt(parts: &Parts, rate: Option<Rate>) -> Uuid {
    let projection = catalogue().projection(PROGRESS).unwrap();
    let plan = rebuild::plan(&parts.database.pool, projection).await.unwrap();
    let new = NewRebuild { parts: 2, rate, plan_token: plan.plan_token, by: ada(), idempotency_key: None };
    rebuild::ask(&parts.database.pool, projection, &new).await.unwrap()
}

async fn repaired(parts: &Parts, rate: Option<Rate>) -> Uuid {
    let projection = catalogue().projection(PROGRESS).unwrap();
    let plan = replay::plan(&parts.database.pool, projection, &Selection::default()).await.unwrap();
    let new = NewReplay { selection: Selection::default(), rate, by: ada(), idempotency_key: None };
    replay::create(&parts.database.pool, projection, plan, &new).await.unwrap()
}

/// Runs repairs until it is stopped.
struct Repairing(CancellationToken, tokio::task::JoinHandle<()>);

impl Repairing {
    fn of(parts: &Parts) -> Self {
        let stop = CancellationToken::new();
        Self(stop.clone(), tokio::spawn(Replays::of(&parts.appliers).run(stop)))
    }

    async fn stop(self) {
        self.0.cancel();
        self.1.await.unwrap();
    }
}

async fn shown(parts: &Parts, id: Uuid) -> Operation {
    operations::get(&parts.database.pool, id).await.unwrap().unwrap()
}

async fn is(parts: &Parts, id: Uuid, state: State) {
    eventually(&format!("it is {state:?}"), LIMIT, async || {
        let now = shown(parts, id).await;
        if now.state == state { Ok(()) } else { Err(format!("{:?}: {:?}", now.state, now.error)) }
    })
    .await;
}

async fn set(parts: &Parts, id: Uuid, rate: Option<f64>) {
    let rate = rate.map(|events| Rate { events, seconds: Some(3600) });
    let new = NewRate { rate, seen: None, by: ada(), idempotency_key: None };
    rate::set(&parts.database.pool, id, &new).await.unwrap();
}

/// Events that were gone through for an operation, by whoever works on it.
async fn done(parts: &Parts, id: Uuid) -> i64 {
    let sum =
        "select coalesce((select sum(events) from generation_parts where projection = 'learner_progress'), 0)::bigint
                   + (select seen from operations where id = $1)";
    sqlx::query_scalar(sum).bind(id).fetch_one(&parts.database.pool).await.unwrap()
}

async fn begun(parts: &Parts, id: Uuid) {
    eventually("it has begun", LIMIT, async || match done(parts, id).await {
        0 => Err("nothing is done".to_owned()),
        _ => Ok(()),
    })
    .await;
}

fn slow(events: f64) -> Option<Rate> {
    Some(Rate { events, seconds: Some(3600) })
}

/// It rests for many seconds for each event, and would rest for a minute.
#[tokio::test]
async fn a_rate_holds_and_another_is_noticed_within_two_seconds_whoever_rests() {
    let (parts, _) = Parts::with_history(seeded().random(), 1500).await;
    let keeping = Keeping::of(&parts);
    let repairing = Repairing::of(&parts);
    for (id, rest) in
        [(rebuilt(&parts, slow(0.2)).await, State::Waiting), (repaired(&parts, slow(0.2)).await, State::Succeeded)]
    {
        begun(&parts, id).await;
        let began = Instant::now();
        let before = done(&parts, id).await;
        tokio::time::sleep(NOTICE).await;
        let most = before + 1 + (began.elapsed().as_secs_f64() * 0.2).ceil() as i64;
        assert!(done(&parts, id).await <= most, "{before}, and {most} at most");
        let now = shown(&parts, id).await;
        assert!(now.rate == Some(0.2) && now.rate_until.is_some() && now.state == State::Running, "{now:?}");
        // Whoever dies and comes again goes by the rate that was set.
        set(&parts, id, Some(1_000_000.0)).await;
        let before = done(&parts, id).await;
        eventually("it is fast", NOTICE, async || match done(&parts, id).await {
            now if now > before + 20 => Ok(()),
            now => Err(now.to_string()),
        })
        .await;
        is(&parts, id, rest).await;
    }
    keeping.stop().await;
    repairing.stop().await;
    let audited = "select count(*) from audit_log where action = 'operation.rate' and actor = 'ada'";
    assert_eq!(parts.database.count(audited).await, 2);
}

#[tokio::test]
async fn a_rate_outlives_who_goes_by_it_and_ends_by_itself() {
    let (parts, _) = Parts::with_history(seeded().random(), 1500).await;
    let id = rebuilt(&parts, None).await;
    set(&parts, id, Some(0.2)).await;
    for _ in 0..2 {
        let keeping = Keeping::of(&parts);
        begun(&parts, id).await;
        keeping.stop().await;
    }
    assert!(done(&parts, id).await < 20, "it is slow, also after a restart");
    let keeping = Keeping::of(&parts);
    // As if the hour had passed by the database's clock.
    sqlx::query("update operations set rate_until = now() where kind = 'rebuild'")
        .execute(&parts.database.pool)
        .await
        .unwrap();
    is(&parts, id, State::Waiting).await;
    let now = shown(&parts, id).await;
    assert_eq!((now.rate, now.rate_until), (None, None));
    keeping.stop().await;
}

#[tokio::test]
async fn a_pause_and_a_cancel_reach_a_builder_that_rests() {
    let (parts, _) = Parts::with_history(seeded().random(), 500).await;
    let keeping = Keeping::of(&parts);
    let id = rebuilt(&parts, slow(0.1)).await;
    begun(&parts, id).await;
    rebuild::pause(&parts.database.pool, id, &ada()).await.unwrap();
    let paused = "select count(*) from generation_parts where pace = 'paused'";
    eventually("both have taken notice", NOTICE, async || match parts.database.count(paused).await {
        2 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    rebuild::resume(&parts.database.pool, id, &ada()).await.unwrap();
    rebuild::cancel(&parts.database.pool, id, &ada()).await.unwrap();
    let left = "select count(*) from pg_namespace where nspname like 'learner_progress__g%'";
    eventually("nothing of it is left", NOTICE * 2, async || match parts.database.count(left).await {
        0 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    keeping.stop().await;
}

#[tokio::test]
async fn one_switch_stops_all_operations_and_what_one_needs_then_goes_on() {
    let (parts, _) = Parts::with_history(seeded().random(), 3000).await;
    let pool = parts.database.pool.clone();
    let projection = catalogue().projection(PROGRESS).unwrap();
    let keeping = Keeping::of(&parts);
    let repairing = Repairing::of(&parts);
    // One that is built, and follows.
    let built = rebuilt(&parts, None).await;
    is(&parts, built, State::Waiting).await;
    let slowly = repaired(&parts, slow(10.0)).await;
    begun(&parts, slowly).await;
    let new = NewStop { seconds: None, replace: false, by: ada(), idempotency_key: Some("once".to_owned()) };
    let switched = stop::stop(&pool, &new).await.unwrap();
    assert_eq!(switched.stopped.as_ref().map(|stop| &*stop.actor), Some("ada"));
    assert_eq!(stop::stop(&pool, &new).await.unwrap().operation, switched.operation, "one key, one stop");
    let again = NewStop { idempotency_key: None, ..new.clone() };
    assert!(matches!(stop::stop(&pool, &again).await, Err(Unswitched::StoppedAlready(_))));
    let verification = verify::ask(&pool, projection, &ada(), None).await.unwrap();
    eventually("the repair is given back", NOTICE, async || match shown(&parts, slowly).await.state {
        State::Pending => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let seen = shown(&parts, slowly).await.seen;
    tokio::time::sleep(NOTICE).await;
    for id in [slowly, verification] {
        let now = shown(&parts, id).await;
        assert_eq!(now.state, State::Pending);
        let waits = now.waits.unwrap();
        assert_eq!(waits, "all operations are stopped by ada until somebody has them go on: the database is busy");
    }
    assert_eq!(shown(&parts, slowly).await.seen, seen);
    // The one that is built follows, and can be put in place.
    parts.load(&crate::histories::History::of(5, 200).lines).await;
    let head = parts.database.head().await;
    eventually("it follows", LIMIT, async || {
        let position = "select min(position) from generation_parts where projection = 'learner_progress'";
        match parts.database.count(position).await {
            position if position >= head.0 => Ok(()),
            position => Err(position.to_string()),
        }
    })
    .await;
    crate::generations::exchanged(&parts, PROGRESS, workers::generations::gate::Way::Promote).await;
    let report = parts.database.lag().await;
    assert_eq!(report.operations_stopped.map(|stop| stop.reason).as_deref(), Some("the database is busy"));
    stop::go_on(&pool, &ada(), None).await.unwrap();
    assert!(matches!(stop::go_on(&pool, &ada(), None).await, Err(Unswitched::NotStopped)));
    set(&parts, slowly, None).await;
    is(&parts, slowly, State::Succeeded).await;
    is(&parts, verification, State::Succeeded).await;
    let limited = NewStop { seconds: Some(3600), ..again };
    let stop = stop::stop(&pool, &limited).await.unwrap().stopped.unwrap();
    assert_eq!((stop.until.unwrap() - stop.since).num_seconds(), 3600);
    let rebuild = rebuilt(&parts, None).await;
    sqlx::query("update operations_stop set stopped_until = now()").execute(&pool).await.unwrap();
    is(&parts, rebuild, State::Waiting).await;
    keeping.stop().await;
    repairing.stop().await;
    parts.converge(&crate::oracle::Held::default()).await;
}

#[tokio::test]
async fn what_stands_still_says_so_and_why() {
    let (parts, _) = Parts::with_history(seeded().random(), 800).await;
    let pool = &parts.database.pool;
    let id = rebuilt(&parts, None).await;
    assert_eq!(shown(&parts, id).await.stalled, None, "not at once");
    // As if a minute had passed.
    let older =
        "update operations set created_at = created_at - interval '2 min', started_at = started_at - interval '2 min'";
    sqlx::query(older).execute(pool).await.unwrap();
    let reason = async || shown(&parts, id).await.stalled.map(|stalled| stalled.reason);
    assert_eq!(reason().await.as_deref(), Some("no worker of version 1 of learner_progress runs"));
    let new = NewStop { seconds: None, replace: false, by: ada(), idempotency_key: None };
    stop::stop(pool, &new).await.unwrap();
    assert_eq!(shown(&parts, id).await.stalled, None, "it waits for a person");
    stop::go_on(pool, &ada(), None).await.unwrap();
    assert_eq!(shown(&parts, id).await.stalled, None, "it could not do anything until now");
    sqlx::query("update operations_stop set ended_at = null").execute(pool).await.unwrap();

    let mut somebody = sqlx::PgConnection::connect(&parts.database.url).await.unwrap();
    let mut held = somebody.begin().await.unwrap();
    sqlx::query("select from operations where id = $1 for update").bind(id).execute(&mut *held).await.unwrap();
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *held).await.unwrap();
    let keeping = Keeping::of(&parts);
    let expected = format!("a lock on operations is held by pid {pid} ");
    eventually("it says who is in the way", LIMIT, async || match reason().await {
        Some(reason) if reason.starts_with(&expected) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let said = workers::doctor::diagnose(pool, catalogue(), 30.0).await;
    let symptom = said.symptoms.iter().find(|symptom| symptom.runbook == "OperationStalled").unwrap();
    assert!(symptom.what.starts_with("rebuild of learner_progress, operation ") && symptom.what.contains(&expected));
    held.rollback().await.unwrap();
    is(&parts, id, State::Waiting).await;
    assert_eq!(shown(&parts, id).await.stalled, None, "it waits for a person");
    keeping.stop().await;
}

/// Two tasks share the parts, one of which is killed and comes again; a worker runs nowhere.
#[tokio::test]
async fn the_tasks_of_a_job_build_a_rebuild_and_end() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    crate::harness::client::load_sample(&store).await;
    let process = fleet.process("admin").await.start().await;
    let admin = Admin::of(&process);
    let task = async |index: &str, count: &str| {
        let builder = fleet.process("build").await.arg(PROGRESS);
        builder.env("CLOUD_RUN_TASK_INDEX", index).env("CLOUD_RUN_TASK_COUNT", count)
    };
    let (status, _, log) = task("0", "2").await.output().await;
    assert!(status.code() == Some(1) && log.contains("nobody has asked for a rebuild"), "{log}");
    let (status, _, log) = task("2", "2").await.output().await;
    assert!(status.code() == Some(1) && log.contains("task 2 is none of 2"), "{log}");

    let path = format!("/projections/{PROGRESS}/generations");
    let (_, plan) = admin.post(&path, &json!({"parts": 3, "dry_run": true})).await;
    let asked = json!({"parts": 3, "plan_token": plan["plan_token"], "actor": "ada", "reason": "a test"});
    let (status, rebuild) = admin.post(&path, &asked).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{rebuild}");
    let (status, _, log) = task("1", "2").await.env("FLEET_KILL_AT", "rebuild.advanced:1").output().await;
    assert!(!status.success(), "{log}");
    let (one, other) =
        tokio::join!(async { task("0", "2").await.output().await }, async { task("1", "2").await.output().await });
    for (status, _, log) in [one, other] {
        assert!(status.code() == Some(0) && log.contains("the parts of this task are built"), "{log}");
    }
    let shown = admin.get(&format!("/operations/{}", rebuild["id"].as_str().unwrap())).await;
    assert_eq!(shown["state"], "waiting", "{shown}");
    let (_, again, log) = task("5", "6").await.output().await;
    assert!(log.contains("the parts of this task are built"), "it has none: {again} {log}");
    let schema = "learner_progress__g2";
    crate::oracle::assert_equal_as_of(&fleet.database.pool, PROGRESS, schema, fleet.database.head().await.0).await;
}

async fn said(fleet: &Fleet, admin: &Process, args: &[&str]) -> (Option<i32>, String) {
    let builder = fleet.process(args[0]).await.env("FLEET_HTTP", &admin.http()).env("FLEET_ACTOR", "ada");
    let builder = args[1..].iter().fold(builder, |builder, arg| builder.arg(arg));
    let (status, out, error) = builder.output().await;
    (status.code(), out + &error)
}

#[tokio::test]
async fn the_api_and_the_commands_steer_and_what_is_refused_changes_nothing() {
    let fleet = Fleet::new().await;
    let process = fleet.process("admin").await.start().await;
    let admin = Admin::of(&process);
    let (_, repair) = admin.post("/replays", &json!({"projection": "vocabulary", "rate": 5, "rate_seconds": 60})).await;
    assert_eq!(repair["rate"], 5.0, "{repair}");
    assert!(repair["rate_until"].is_string(), "{repair}");
    let id = repair["id"].as_str().unwrap().to_owned();
    let path = format!("/operations/{id}/rate");
    let by = json!({"actor": "ada", "reason": "a test"});
    let with = |more: Value| {
        let mut body = by.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let nobody = format!("/operations/{}/rate", Uuid::now_v7());
    let audited = async || admin.get("/audit").await["entries"].as_array().unwrap().len();
    let before = audited().await;
    for (path, body, status, problem) in [
        (&*path, json!({"rate": 5}), StatusCode::BAD_REQUEST, "actor"),
        (&path, json!({"rate": 5, "actor": "ada", "reason": ""}), StatusCode::BAD_REQUEST, "reason"),
        (&path, with(json!({"rate": 0})), StatusCode::BAD_REQUEST, "rate"),
        (&path, with(json!({"rate": 5, "seconds": 604_801})), StatusCode::BAD_REQUEST, "seconds"),
        (&path, with(json!({"seconds": 60})), StatusCode::BAD_REQUEST, "seconds"),
        (&nobody, with(json!({"rate": 5})), StatusCode::NOT_FOUND, "there is no operation"),
        ("/operations/x/rate", with(json!({"rate": 5})), StatusCode::NOT_FOUND, "is not the id"),
        ("/operations/stop", json!({"actor": "ada"}), StatusCode::BAD_REQUEST, "reason"),
        ("/operations/stop", with(json!({"seconds": 0})), StatusCode::BAD_REQUEST, "seconds"),
        ("/operations/go-on", by.clone(), StatusCode::CONFLICT, "not stopped"),
    ] {
        let (answered, said) = admin.post(path, &body).await;
        assert_eq!(answered, status, "{path} {body}: {said}");
        assert!(said["detail"].as_str().unwrap().contains(problem), "{path} {body}: {said}");
    }
    assert_eq!(audited().await, before, "nothing is done");

    let (status, changed) = admin.post_with_key(&path, &with(json!({"rate": 7})), "incident-7").await;
    assert_eq!((status, &changed["rate"]), (StatusCode::OK, &json!(7.0)), "{changed}");
    let (status, _) = admin.post_with_key(&path, &with(json!({"rate": 8})), "incident-7").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    admin.post_with_key(&path, &with(json!({"rate": 7})), "incident-7").await;
    assert_eq!(audited().await, before + 1, "one key, one change");

    let shown = admin.raw(Method::GET, &format!("/operations/{id}"), HeaderMap::new(), "").await;
    let tag = shown.headers()[ETAG].clone();
    let seen = async |rate: f64| {
        let headers = [(IF_MATCH, tag.clone()), (CONTENT_TYPE, "application/json".parse().unwrap())];
        let body = with(json!({"rate": rate})).to_string();
        admin.raw(Method::POST, &path, HeaderMap::from_iter(headers), &body).await.status()
    };
    assert_eq!(seen(9.0).await, StatusCode::OK);
    assert_eq!(seen(10.0).await, StatusCode::PRECONDITION_FAILED, "it is not what was seen");

    let (code, out) =
        said(&fleet, &process, &["operations", "rate", &id, "500", "--for", "30m", "--reason", "a test"]).await;
    assert!(code == Some(0) && out.contains("goes through 500 events a second at most, until 2"), "{out}");
    let (code, out) =
        said(&fleet, &process, &["operations", "rate", &id, "--none", "--reason", "a test", "--json"]).await;
    assert!(code == Some(0) && !out.contains("rate_until"), "{out}");
    assert_eq!(said(&fleet, &process, &["operations", "rate", &id]).await.0, Some(2));
    let (code, out) = said(&fleet, &process, &["operations", "stop", "--for", "2h", "--reason", "a test"]).await;
    assert!(code == Some(0) && out.starts_with("all operations are stopped by ada since "), "{out}");
    let (code, out) = said(&fleet, &process, &["operations", "stop", "--reason", "a test"]).await;
    assert!(code == Some(4) && out.contains("stopped already, by ada since"), "{out}");
    let (_, out) = said(&fleet, &process, &["status"]).await;
    assert!(out.contains("all operations are stopped by ada since "), "{out}");
    let metrics = async || {
        let text = reqwest::get(format!("http://{}/metrics", process.http())).await.unwrap().text().await.unwrap();
        text.lines().find(|line| line.starts_with("fleet_operations_stopped ")).map(str::to_owned)
    };
    assert_eq!(metrics().await.as_deref(), Some("fleet_operations_stopped 1"));
    let (_, out) = said(&fleet, &process, &["doctor"]).await;
    assert!(out.contains("all operations are stopped by ada") && out.contains("runbook OperationsStopped"), "{out}");
    let (code, out) = said(&fleet, &process, &["operations", "go-on", "--reason", "a test"]).await;
    assert!(code == Some(0) && out == "all operations go on\n", "{out}");
    assert_eq!(metrics().await.as_deref(), Some("fleet_operations_stopped 0"));
    let audit = admin.get("/audit").await;
    let actions: Vec<_> =
        audit["entries"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions[..4], ["operations.go_on", "operations.stop", "operation.rate", "operation.rate"]);
}

/// It would never end, and whoever looks at the fleet is told so.
#[tokio::test]
async fn a_rebuild_that_would_never_end_is_said_to_be_one_and_its_time_left_counts_its_rests() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let _worker = fleet.worker("vocabulary-events", &store).await;
    let admin = fleet.process("admin").await.start().await;
    burst(&store, 3000).await;
    let api = Admin::of(&admin);
    let (_, plan) = api.post("/projections/vocabulary/generations", &json!({"dry_run": true})).await;
    let slow = json!({"plan_token": plan["plan_token"], "rate": 2.0, "actor": "ada", "reason": "a test"});
    let (status, slow) = api.post("/projections/vocabulary/generations", &slow).await;
    assert!(status.is_success(), "{slow}");
    let diverges = async |wanted: i64| {
        eventually("the metric says it", LIMIT, async || {
            let is = admin.counter("projection_rebuild_diverges{projection=\"vocabulary\"}").await;
            let generations = api.get("/projections/vocabulary/generations").await;
            if is == wanted { Ok(()) } else { Err(generations.to_string()) }
        })
        .await;
    };
    diverges(1).await;
    assert_eq!(admin.counter("projection_rebuild_diverges{projection=\"user_directory\"}").await, 0);
    // Faster, in a store that has become quiet: what is left takes as long as the rate says, with all rests between.
    let faster = json!({"rate": 40.0, "actor": "ada", "reason": "a test"});
    let id = slow["id"].as_str().unwrap();
    let (status, answer) = api.post(&format!("/operations/{id}/rate"), &faster).await;
    assert!(status.is_success(), "{answer}");
    eventually("it says when it will have caught up", LIMIT, async || {
        let generations = api.get("/projections/vocabulary/generations").await;
        let of = &generations.as_array().unwrap()[0];
        let left = (of["head"].as_i64().unwrap() - of["position"].as_i64().unwrap()) as f64 / 40.0;
        let right = of["eta"]["seconds"].as_f64().is_some_and(|said| (said / left - 1.0).abs() < 0.15);
        if right && left > 10.0 { Ok(()) } else { Err(generations.to_string()) }
    })
    .await;
    diverges(0).await;
    let cancel = json!({"actor": "ada", "reason": "a test"});
    let (status, answer) = api.post(&format!("/operations/{id}/cancel"), &cancel).await;
    assert!(status.is_success(), "{answer}");
}
