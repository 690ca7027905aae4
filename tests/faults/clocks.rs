//! Two of something, and time: what is waited for, what is late, and who is next.

use std::time::Duration;

use bus::{Delivery, Message, Receipt, Settle};
use chrono::Utc;
use event_store::proto::event_store_client::EventStoreClient;
use fleet::client::endpoint;
use kill_points::kill_at;
use projections::topics::INTEGRATION;
use prometheus::Registry;
use serde_json::{Value, json};
use sqlx::Executor;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::Metrics;
use workers::apply::Mode;
use workers::audit::Attribution;
use workers::dead_letters::retry_one;
use workers::redrive::Redrive;
use workers::resolve::{PREDECESSOR_WAIT, Resolver};
use workers::sweep::Sweep;

use crate::harness::parts::{LIMIT, Parts, line};
use crate::harness::{Database, Fleet, Process, catalogue, eventually, full_size};

struct Nobody;

impl Settle for Nobody {
    fn ack(self: Box<Self>) {}
    fn nack(self: Box<Self>) {}
}

/// A message of another system about version `version` of a user, published an hour ago.
fn foreign(user: Uuid, version: i32) -> Delivery {
    let (event_type, data) = match version {
        1 => ("UserSignedUp", json!({"user_id": user, "email": "ada@example.org", "name": "Ada"})),
        _ => ("UserEmailUpdated", json!({"user_id": user, "email": format!("ada{version}@example.org")})),
    };
    said(&json!({
        "event_id": Uuid::now_v7(), "aggregate_id": user, "aggregate_type": "User", "event_type": event_type,
        "event_version": version, "event_data": data, "metadata": {}, "occurred_at": Utc::now(),
    }))
}

fn said(event: &Value) -> Delivery {
    Delivery {
        message: Message { data: event.to_string().into(), ..Message::default() },
        message_id: Uuid::now_v7().to_string(),
        published_at: Some(Utc::now() - chrono::TimeDelta::hours(1)),
        attempt: None,
        receipt: Receipt::new(Nobody),
    }
}

fn resolver(fleet: &Fleet, store: &Process) -> Resolver {
    Resolver {
        topic: &INTEGRATION,
        projections: catalogue().listening_to(&INTEGRATION),
        pool: fleet.database.pool.clone(),
        store: EventStoreClient::new(endpoint(&store.grpc()).unwrap().connect_lazy().into()),
        metrics: Metrics::register(&Registry::new()).unwrap(),
        patience: PREDECESSOR_WAIT,
        stride: Default::default(),
    }
}

const AWAITED: &str = "select count(*) from awaited_events";
const PARKED: &str = "select count(*) from parked_events";

#[tokio::test]
async fn after_an_outage_foreign_events_in_two_batches_are_all_adopted() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let resolver = resolver(&fleet, &store);
    let user = Uuid::now_v7();
    let last = if full_size() { 400 } else { 20 };
    let (first, second): (Vec<_>, Vec<_>) = (1..=last).map(|version| foreign(user, version)).partition(|delivery| {
        let event: Value = serde_json::from_slice(&delivery.message.data).unwrap();
        event["event_version"].as_i64().unwrap() > i64::from(last) / 2
    });
    let resolved = resolver.resolve(&first).await.unwrap();
    assert_eq!(resolved.later.len(), first.len(), "they have waited for no time at all");
    assert_eq!(fleet.database.count(AWAITED).await, first.len() as i64);
    let resolved = resolver.resolve(&second).await.unwrap();
    assert_eq!(resolved.later, [] as [usize; 0]);
    let resolved = resolver.resolve(&first).await.unwrap();
    assert_eq!(resolved.later, [] as [usize; 0]);
    assert_eq!(fleet.database.head().await.0, i64::from(last));
    assert_eq!((fleet.database.count(PARKED).await, fleet.database.count(AWAITED).await), (0, 0));
}

#[tokio::test]
async fn who_is_waited_for_in_vain_is_parked_and_no_jump_of_the_clock_makes_it_sooner_or_never() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut resolver = resolver(&fleet, &store);
    let early = [foreign(Uuid::now_v7(), 2)];
    let pool = &fleet.database.pool;
    // The clock was a year behind, was a year ahead, and nobody looked for a day: a minute of waiting each at most.
    for seen_at in ["now() - interval '1 year'", "now() + interval '1 year'", "now() - interval '1 day'"] {
        assert_eq!(resolver.resolve(&early).await.unwrap().later, [0], "{seen_at}");
        let moved = sqlx::query(sqlx::AssertSqlSafe(format!("update awaited_events set seen_at = {seen_at}")));
        moved.execute(pool).await.unwrap();
    }
    // What is forgotten for having been unseen for a day begins anew.
    assert_eq!(resolver.resolve(&early).await.unwrap().later, [0]);
    pool.execute("update awaited_events set seen_at = now(), waited = interval '9 minutes 59 seconds'").await.unwrap();
    assert_eq!(resolver.resolve(&early).await.unwrap().later, [0]);
    pool.execute("update awaited_events set waited = interval '10 minutes'").await.unwrap();
    assert_eq!(resolver.resolve(&early).await.unwrap().later, [] as [usize; 0]);
    let parked = "select count(*) from parked_events where reason = 'version_clash' and error like '%never came'";
    assert_eq!((fleet.database.count(parked).await, fleet.database.count(AWAITED).await), (1, 0));

    // What a person tries again does not wait.
    resolver.patience = Duration::ZERO;
    assert_eq!(resolver.resolve(&early).await.unwrap().later, [] as [usize; 0]);
    assert_eq!(fleet.database.count("select max(attempts)::bigint from parked_events").await, 2);
}

#[tokio::test]
async fn a_message_that_gives_a_known_event_to_another_aggregate_is_parked_and_the_event_is_applied() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let resolver = resolver(&fleet, &store);
    let (ada, eve) = (Uuid::now_v7(), Uuid::now_v7());
    for batches in [1, 2] {
        let true_one = foreign(if batches == 1 { ada } else { eve }, 1);
        let mut lie: Value = serde_json::from_slice(&true_one.message.data).unwrap();
        lie["aggregate_id"] = json!(Uuid::from_u128(u128::MAX));
        let mut deliveries = vec![true_one, said(&lie)];
        let lie = deliveries.split_off(3 - batches);
        for deliveries in [deliveries, lie] {
            let resolved = resolver.resolve(&deliveries).await.unwrap();
            assert_eq!(resolved.later, [] as [usize; 0]);
            assert_eq!(resolved.events.len() + resolved.rest.len(), usize::from(!deliveries.is_empty()));
        }
    }
    let clashes =
        "select count(*) from parked_events where reason = 'version_clash' and error like '%another aggregate%'";
    assert_eq!(fleet.database.count(clashes).await, 2);
    assert_eq!(fleet.database.head().await.0, 2);
}

/// The database's clock goes back by a day: what was appended before is an event of the future.
#[tokio::test]
async fn an_event_of_the_future_is_swept_when_it_has_been_there_for_the_grace() {
    let parts = Parts::new().await;
    let user = Uuid::now_v7();
    let data = json!({"user_id": user, "email": "ada@example.org", "first_name": "Ada", "last_name": "Byron"});
    parts.load(&[line("User", user, 0, "UserSignedUp", &data)]).await;
    let pool = &parts.database.pool;
    pool.execute("alter table events disable trigger user").await.unwrap();
    pool.execute("update events set created_at = now() + interval '1 day'").await.unwrap();
    pool.execute("alter table events enable trigger user").await.unwrap();
    let stop = CancellationToken::new();
    let applier = parts.applier("user_directory").clone();
    let sweep = Sweep { applier, head: Default::default(), grace: Duration::from_secs(1) };
    let sweeping = tokio::spawn(sweep.run(stop.clone()));
    counted(&parts.database, "select count(*) from user_directory.users", 1).await;
    stop.cancel();
    sweeping.await.unwrap();
}

async fn counted(database: &Database, sql: &'static str, wanted: i64) {
    eventually(sql, LIMIT, async || {
        let found = database.count(sql).await;
        if found == wanted { Ok(()) } else { Err(format!("{found}, not {wanted}")) }
    })
    .await;
}

/// Users whose second event is poison, parked; with the ids of their letters.
async fn poisoned(parts: &Parts, users: usize) -> Vec<(Uuid, Uuid)> {
    let mut lines = Vec::new();
    for _ in 0..users {
        let user = Uuid::now_v7();
        let data = json!({"user_id": user, "email": "ada@example.org", "first_name": "Ada", "last_name": "Byron"});
        lines.push(line("User", user, 0, "UserSignedUp", &data));
        lines.push(line("User", user, 1, "LearningGoalSet", &json!({"user_id": user, "daily_goal": "many"})));
    }
    parts.load(&lines).await;
    let events = parts.events(Default::default()).await;
    parts.apply(&events, Mode::Live).await.unwrap();
    let letters = sqlx::query_as("select aggregate_id, id from parked_events order by id");
    letters.fetch_all(&parts.database.pool).await.unwrap()
}

#[tokio::test]
async fn a_slow_retry_lets_later_decisions_pass() {
    let parts = Parts::new().await;
    let slow = if full_size() { 200 } else { 10 };
    let letters = poisoned(&parts, slow + 1).await;
    let pool = &parts.database.pool;
    let by = Attribution::default();
    // Each of them rests for a quarter of an hour after its first event.
    for (_, letter) in &letters[..slow] {
        retry_one(pool, *letter, 0.001, None, &by, None).await.unwrap();
    }
    let (_, last) = letters[slow];
    let operation = retry_one(pool, last, 1000.0, None, &by, None).await.unwrap();
    let stop = CancellationToken::new();
    let redriving = tokio::spawn(Redrive { applier: parts.applier("user_directory").clone() }.run(stop.clone()));
    eventually("the last is done", LIMIT, async || {
        let state: String = sqlx::query_scalar("select state from operations where id = $1")
            .bind(operation)
            .fetch_one(pool)
            .await
            .unwrap();
        // Nothing is mended, so that it is parked again.
        if state == "failed" { Ok(()) } else { Err(state) }
    })
    .await;
    stop.cancel();
    redriving.await.unwrap();
}

/// Holds that end faster than a sweep looks.
#[tokio::test]
async fn a_sweep_settles_and_is_seen_to_live_however_many_holds_end() {
    let parts = Parts::new().await;
    poisoned(&parts, if full_size() { 2000 } else { 100 }).await;
    let pool = parts.database.pool.clone();
    let storm = tokio::spawn(async move {
        loop {
            pool.execute("update projection_progress set releases = releases + 1").await.unwrap();
        }
    });
    parts.sweep().await;
    let alive = "select count(*) from projection_progress where swept_at > clock_timestamp() - interval '1 minute'";
    assert_eq!(parts.database.count(alive).await, parts.appliers.len() as i64);
    storm.abort();
}

/// The sweep has looked, and a hold ends before it settles: the same pass settles all the same, before the next one looks.
#[tokio::test]
async fn a_sweep_that_was_outdated_looks_again_at_once() {
    let parts = Parts::new().await;
    poisoned(&parts, 3).await;
    let pool = &parts.database.pool;
    let applier = parts.applier("user_directory").clone();
    let sweep = Sweep { applier, head: Default::default(), grace: Duration::from_secs(3600) };
    let mut hold = pool.begin().await.unwrap();
    hold.execute("update projection_progress set releases = releases + 1").await.unwrap();
    let ended = async {
        let waiting = "select count(*) from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock'";
        counted(&parts.database, waiting, 1).await;
        hold.commit().await.unwrap();
    };
    let (next, ()) = tokio::join!(kill_at("sweep.looked", 2, sweep.run(CancellationToken::new())), ended);
    assert!(next.is_none(), "it looked a second time");
    let settled =
        "select count(*) from projection_progress where projection = 'user_directory' and swept_at is not null
                   and settled_position = (select position from event_store_head)";
    assert_eq!(parts.database.count(settled).await, 1);
}
