//! What happens to the database as a whole, and to the clocks around it.

use std::sync::Arc;
use std::time::Duration;

use bus::{Chaos, Delivery, Receipt, Settle};
use chrono::Utc;
use events::Position;
use fleet::roles;
use kill_points::kill_at;
use projections::topics::{PROGRESS, VOCABULARY};
use rand::Rng;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::apply::Mode;
use workers::audit::Attribution;
use workers::operations;
use workers::replay::{self, NewReplay, Replays, Selection};

use super::answers::{delivered_to, worker};
use crate::harness::cluster::Cluster;
use crate::harness::parts::{LIMIT, Parts, consistent, line};
use crate::harness::{Broker, Database, Fleet, Project, catalogue, eventually};
use crate::histories::History;
use crate::oracle::Held;
use crate::sample::{message, seeded};

#[tokio::test]
async fn a_standby_is_refused_because_what_it_shows_may_be_old() {
    let cluster = Cluster::start();
    let database = Database::existing(&cluster.url);
    roles::migrate::migrate(catalogue(), &database.pool).await.unwrap();
    database.pool.close().await;
    cluster.become_standby();
    let fleet =
        Fleet { database: Database::existing(&cluster.url), project: Project::of(&Broker::start(Chaos::new(1)).await) };
    for role in ["event-store", "admin"] {
        let builder = fleet.process(role).await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0");
        let process = builder.start().await;
        let ready = reqwest::get(format!("http://{}/readyz", process.http())).await.unwrap();
        assert_eq!(ready.status(), 503, "{role}");
        assert!(process.logged().iter().any(|line| line.contains("this Postgres is a standby")), "{role} says why");
    }
}

struct Nobody;

impl Settle for Nobody {
    fn ack(self: Box<Self>) {}
    fn nack(self: Box<Self>) {}
}

/// Store, read models and cursors are in one database, so that a failover to a standby that lagged takes all of them back to
/// the same moment. Only the bus still knows what was lost.
#[tokio::test]
async fn a_failover_that_loses_the_tail_of_the_store_loses_it_everywhere() {
    let seed = seeded().random();
    let parts = Parts::new().await;
    let history = History::of(seed, 400);
    let (kept, late) = history.lines.split_at(history.lines.len() * 3 / 4);
    parts.load(kept).await;
    parts.sweep().await;
    let head = parts.database.head().await;
    let standby = parts.database.copied().await;

    let parts = Parts::reaching(Database::existing(&parts.database.url), &parts.database.url);
    parts.load(late).await;
    let lost = parts.events(head).await;
    assert!(lost.len() > 50, "{}", lost.len());

    let promoted = Parts::reaching(Database::existing(&standby), &standby);
    let others = [Uuid::now_v7(), Uuid::now_v7()];
    for other in others {
        let data = json!({"entry_id": other, "spelling": "after the failover"});
        promoted.append(&line("VocabularyEntry", other, 0, "EntryCreated", &data)).await.unwrap();
    }
    assert_eq!(promoted.database.head().await, Position(head.0 + 2), "the positions of what was lost are given anew");
    for topic in [&VOCABULARY, &PROGRESS] {
        let deliveries = lost.iter().map(|event| Delivery {
            message: message(event),
            message_id: event.position.to_string(),
            published_at: Some(Utc::now()),
            attempt: None,
            receipt: Receipt::new(Nobody),
        });
        delivered_to(worker(&promoted, topic), deliveries.collect()).await;
        consistent(&promoted.database.pool).await;
    }
    let parked = "select count(*) from parked_events where reason = 'unknown_event'";
    assert!(promoted.database.count(parked).await > 0, "what the store has lost is kept for a person");
    promoted.converge(&Held::default()).await;
}

#[tokio::test]
async fn wrong_clocks_of_writers_and_of_the_bus_change_neither_order_nor_lag() {
    let parts = Parts::new().await;
    let user = Uuid::now_v7();
    let data = json!({"user_id": user, "email": "a@example.org", "first_name": "A", "last_name": "B"});
    let mut lines = vec![line("User", user, 0, "UserSignedUp", &data)];
    for version in 1..40 {
        let data = json!({"user_id": user, "email": format!("{version}@example.org")});
        lines.push(line("User", user, version, "UserEmailUpdated", &data));
    }
    for (index, line) in lines.iter_mut().enumerate() {
        let minutes = if index % 2 == 0 { 10 } else { -10 };
        line.events[0].occurred_at += chrono::Duration::minutes(minutes);
    }
    parts.load(&lines).await;
    let lag = |report: workers::lag::Report| report.projections.iter().map(|it| it.lag_seconds).fold(0.0, f64::max);
    let before = lag(parts.database.lag().await);
    assert!((0.0..60.0).contains(&before), "{before}");
    let deliveries = parts.events(Default::default()).await.into_iter().map(|event| Delivery {
        message: message(&event),
        message_id: event.position.to_string(),
        published_at: Some(Utc::now() + chrono::Duration::minutes(if event.version.0 % 2 == 0 { 10 } else { -10 })),
        attempt: None,
        receipt: Receipt::new(Nobody),
    });
    delivered_to(worker(&parts, &projections::topics::INTEGRATION), deliveries.collect()).await;
    parts.converge(&Held::default()).await;
    assert!(lag(parts.database.lag().await).abs() < f64::EPSILON);
}

#[tokio::test]
async fn a_worker_whose_applying_connections_all_wait_still_says_how_it_is() {
    let broker = Broker::start(Chaos::new(1)).await;
    let fleet = Fleet::on(&broker).await;
    let store = fleet.event_store().await;
    let worker =
        fleet.worker_builder("integration-events", &store).await.env("FLEET_MAX_CONNECTIONS", "4").start().await;
    let mut migration = fleet.database.pool.begin().await.unwrap();
    sqlx::query("lock table user_directory.users in access exclusive mode").execute(&mut *migration).await.unwrap();
    History::of(seeded().random(), 300).load(&store).await;
    eventually("the worker waits", LIMIT, async || {
        let waiting = "select count(*) from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock'";
        if fleet.database.count(waiting).await >= 1 { Ok(()) } else { Err("it does not".to_owned()) }
    })
    .await;
    for path in ["healthz", "readyz", "metrics", "admin/v1/projections"] {
        let asked = reqwest::get(format!("http://{}/{path}", worker.http()));
        let answer = tokio::time::timeout(Duration::from_secs(5), asked).await.unwrap().unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }
    migration.rollback().await.unwrap();
    eventually("the worker has caught up", LIMIT, async || {
        let report = fleet.database.lag().await;
        let status = report.projections.into_iter().find(|status| status.name == "user_directory").unwrap();
        if status.lag_events == 0 { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
}

fn repair(key: Option<&str>) -> NewReplay {
    let selection: Selection = serde_json::from_str("{}").unwrap();
    NewReplay { selection, rate: None, by: Attribution::default(), idempotency_key: key.map(Into::into) }
}

#[tokio::test]
async fn of_fifty_requests_for_one_replay_one_is_run() {
    let (parts, history) = Parts::with_history(seeded().random(), 200).await;
    let parts = Arc::new(parts);
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let parts = parts.clone();
        asking.spawn(async move {
            let projection = parts.applier("vocabulary").projection;
            let new = repair(Some("incident-7"));
            let plan = replay::plan(&parts.database.pool, projection, &new.selection).await.unwrap();
            replay::create(&parts.database.pool, projection, plan, &new).await.unwrap()
        });
    }
    let ids: std::collections::BTreeSet<_> = asking.join_all().await.into_iter().collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(parts.database.count("select count(*) from operations").await, 1);
    parts.converge(&history.held()).await;
}

#[tokio::test]
async fn a_replay_killed_after_every_page_goes_on_from_there_to_its_end() {
    // More than two pages of 5,000 positions.
    let (parts, _) = Parts::with_history(seeded().random(), 11_000).await;
    let pool = &parts.database.pool;
    let applier = parts.applier("user_directory");
    let plan = replay::plan(pool, applier.projection, &repair(None).selection).await.unwrap();
    let id = replay::create(pool, applier.projection, plan, &repair(None)).await.unwrap();
    let mut kills = 0;
    for point in
        ["replay.claimed", "replay.applied", "replay.noted", "replay.applied", "replay.noted", "replay.applied"]
    {
        let running = Replays::of(&parts.appliers).run(CancellationToken::new());
        let ended = kill_at(point, 1, tokio::time::timeout(Duration::from_secs(20), running)).await;
        assert!(ended.is_none(), "{point} was passed");
        kills += 1;
        sqlx::query("update operations set heartbeat_at = now() - interval '1 hour'").execute(pool).await.unwrap();
    }
    let stop = CancellationToken::new();
    let finishing = tokio::spawn(Replays::of(&parts.appliers).run(stop.clone()));
    let done = eventually("it succeeds", LIMIT, async || {
        let operation = operations::get(pool, id).await.unwrap().unwrap();
        if operation.state == operations::State::Succeeded { Ok(operation) } else { Err(format!("{operation:?}")) }
    })
    .await;
    stop.cancel();
    finishing.await.unwrap();
    assert_eq!((kills, done.position), (6, done.last_position));
    let behind = parts.database.lag().await.projections.into_iter().find(|it| it.name == "user_directory").unwrap();
    assert_eq!(behind.lag_events, 0, "nothing of the selection was left out");
    consistent(pool).await;
}

/// What jsonb makes of an event is what everybody sees: reader, relay and projection. Nobody sees what was sent.
#[tokio::test]
async fn what_jsonb_changes_is_changed_for_everybody_alike() {
    let parts = Parts::new().await;
    let [entry, item] = [(); 2].map(|()| Uuid::now_v7());
    let created = json!({"item_id": item, "entry_id": entry, "spelling": "set", "disambiguation": null, "created_by": Uuid::nil()});
    parts.append(&line("VocabularyItem", item, 0, "ItemCreated", &created)).await.unwrap();
    let mut update = line("VocabularyItem", item, 1, "FieldUpdated", &json!({}));
    let text = format!(
        r#"{{"z":1,"item_id":"{item}","field_path":"lost","field_path":"n","old_value":null,"new_value":[1e3,1.50,{{"b":1,"a":2,"b":3}}],"updated_by":"{item}"}}"#
    );
    update.events[0].event_data = serde_json::value::RawValue::from_string(text).unwrap();
    parts.append(&update).await.unwrap();
    let events = parts.events(Default::default()).await;
    let seen: serde_json::Value = serde_json::from_str(events[1].data.event_data.get()).unwrap();
    assert_eq!(seen["field_path"], "n", "of two members of one name the last counts");
    assert!(events[1].data.event_data.get().contains("[1000, 1.50, {\"a\": 2, \"b\": 3}]"), "{:?}", events[1].data);
    let (wire, _) = events::wire::encode(&events[1]);
    assert!(String::from_utf8(wire).unwrap().contains("1.50"));
    parts.apply(&events, Mode::Live).await.unwrap();
    parts.converge(&Held::default()).await;
}
