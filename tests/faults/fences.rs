//! Holders of what is no longer theirs: leases, operations, generations, versions of the code.

use std::sync::Arc;
use std::time::Duration;

use bus::Embedded;
use event_store::relay::Relay;
use events::{DecodeError, Payload, Topic};
use kill_points::hold_at;
use projections::topics::INTEGRATION;
use rand::Rng;
use read_model::{AnyProjection, Pending};
use sqlx::Executor;
use tokio_util::sync::CancellationToken;
use workers::apply::{self, Applier, Mode};
use workers::audit::Attribution;
use workers::replay::{self, NewReplay, Replays, Selection};

use crate::harness::parts::{LIMIT, Parts, apply, consistent};
use crate::harness::{Database, catalogue, eventually};
use crate::sample::seeded;

async fn cursor(database: &Database) -> i64 {
    database.count("select coalesce(max(position), 0) from relay_cursors").await
}

/// As if its process had been stopped (SIGSTOP) for longer than its lease and then gone on.
#[tokio::test]
async fn a_relay_that_slept_over_its_lease_moves_no_cursor() {
    let (parts, _) = Parts::with_history(seeded().random(), 1500).await;
    let bus = Embedded::new();
    bus.ensure_topic(INTEGRATION.name);
    let relay = || Relay {
        topic: &INTEGRATION,
        publisher: Arc::new(bus.publisher(INTEGRATION.name)),
        pool: parts.database.pool.clone(),
        head: Default::default(),
        metrics: event_store::Metrics::register(&prometheus::Registry::new()).unwrap(),
    };
    let stop = CancellationToken::new();
    let sleeper = hold_at("relay.published", relay().run(stop.clone())).await;
    assert_eq!(cursor(&parts.database).await, 0, "published, and not yet past it");
    parts.database.pool.execute("update relay_cursors set leased_until = now() - interval '1 second'").await.unwrap();
    let head = parts.database.head().await;
    let other_stop = CancellationToken::new();
    let other = tokio::spawn(relay().run(other_stop.clone()));
    eventually("the other has relayed everything", LIMIT, async || {
        let at = cursor(&parts.database).await;
        // The rest are other topics' events, written down with the next renewal.
        if at > head.0 - 200 { Ok(()) } else { Err(at.to_string()) }
    })
    .await;
    let reached = cursor(&parts.database).await;
    let holder = "select count(distinct lease_holder) from relay_cursors where leased_until > now()";
    assert_eq!(parts.database.count(holder).await, 1);

    let woken = tokio::spawn(sleeper.go());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(cursor(&parts.database).await >= reached, "the cursor never goes back");
    stop.cancel();
    woken.await.unwrap();
    let still: i64 = parts.database.count(holder).await;
    assert_eq!(still, 1, "the sleeper did not take or release the other's lease");
    other_stop.cancel();
    other.await.unwrap();
}

/// A writer has positions and has not committed: nobody passes them, relay or sweep; then it gives them back.
#[tokio::test]
async fn a_relay_never_passes_positions_that_are_not_committed() {
    let (parts, _) = Parts::with_history(seeded().random(), 50).await;
    let bus = Embedded::new();
    bus.ensure_topic(INTEGRATION.name);
    let mut open = parts.database.pool.begin().await.unwrap();
    open.execute("update event_store_head set position = position + 1").await.unwrap();
    open.execute(
        "insert into events (position, event_id, aggregate_id, aggregate_type, event_type, event_version, event_data,
         metadata, occurred_at)
         select position, gen_random_uuid(), gen_random_uuid(), 'User', 'UserDeleted', 1, '{}', '{}', now()
         from event_store_head",
    )
    .await
    .unwrap();
    let relay = Relay {
        topic: &INTEGRATION,
        publisher: Arc::new(bus.publisher(INTEGRATION.name)),
        pool: parts.database.pool.clone(),
        head: Default::default(),
        metrics: event_store::Metrics::register(&prometheus::Registry::new()).unwrap(),
    };
    let stop = CancellationToken::new();
    let relaying = tokio::spawn(relay.run(stop.clone()));
    parts.sweep().await;
    let settled = "select max(settled_position) from projection_progress";
    assert_eq!(parts.database.count(settled).await, 50);
    eventually("the relay has caught up", LIMIT, async || {
        let at = cursor(&parts.database).await;
        if at > 0 { Ok(()) } else { Err(at.to_string()) }
    })
    .await;
    assert!(cursor(&parts.database).await <= 50);
    open.rollback().await.unwrap();
    stop.cancel();
    relaying.await.unwrap();
    assert!(cursor(&parts.database).await <= 50);
}

fn repair() -> NewReplay {
    let selection: Selection = serde_json::from_str("{}").unwrap();
    NewReplay { selection, rate: None, by: Attribution::default(), idempotency_key: None }
}

/// As if its process had been stopped (SIGSTOP) for longer than its heartbeat may be missing.
#[tokio::test]
async fn a_replay_that_was_taken_over_stops_and_both_have_one_effect() {
    let (parts, history) = Parts::with_history(seeded().random(), 300).await;
    let applier = parts.applier("vocabulary");
    let pool = &parts.database.pool;
    let plan = replay::plan(pool, applier.projection, &repair().selection).await.unwrap();
    replay::create(pool, applier.projection, plan, &repair()).await.unwrap();

    let stop = CancellationToken::new();
    let sleeper = hold_at("replay.applied", Replays::of(&parts.appliers).run(stop.clone())).await;
    pool.execute("update operations set heartbeat_at = now() - interval '1 hour'").await.unwrap();
    let other = tokio::spawn(Replays::of(&parts.appliers).run(stop.clone()));
    let succeeded = "select count(*) from operations where state = 'succeeded'";
    eventually("the other finishes it", LIMIT, async || {
        if parts.database.count(succeeded).await == 1 { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    let seen = "select seen from operations";
    let before = parts.database.count(seen).await;
    let woken = tokio::spawn(sleeper.go());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(parts.database.count(seen).await, before, "the sleeper writes nothing down");
    stop.cancel();
    woken.await.unwrap();
    other.await.unwrap();
    parts.converge(&history.held()).await;
}

/// What promote will do: raise the generation in the fence row while an apply is under way.
#[tokio::test]
async fn an_apply_under_way_ends_before_the_fence_moves_and_the_next_writes_to_the_new_generation() {
    let (parts, _) = Parts::with_history(seeded().random(), 300).await;
    let pool = &parts.database.pool;
    let applier = parts.applier("user_directory").clone();
    let events = parts.events(Default::default()).await;
    let (first, second) = events.split_at(150);
    let tables = applier.projection.tables();
    let schema = format!(
        "create schema user_directory_2; set local search_path to user_directory_2, public; {tables};
         insert into projection_progress (projection, generation, topic)
         values ('user_directory', 2, 'integration-events')"
    );
    pool.execute(sqlx::AssertSqlSafe(schema)).await.unwrap();

    let (flying, deliveries) = (applier.clone(), first.to_vec());
    let flying = hold_at("apply.recorded", async move { apply(&flying, &deliveries, Mode::Live).await.unwrap() }).await;
    let promoting = tokio::spawn({
        let pool = pool.clone();
        async move {
            let sql =
                "update projections set generation = 2, schema_name = 'user_directory_2' where name = 'user_directory'";
            pool.execute(sql).await.unwrap();
        }
    });
    eventually("the promote waits", LIMIT, async || {
        let waiting = "select count(*) from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock'";
        if parts.database.count(waiting).await > 0 { Ok(()) } else { Err("it does not".to_owned()) }
    })
    .await;
    let tally = flying.go().await;
    promoting.await.unwrap();
    let rows = "select count(*) from user_directory.users";
    let old = parts.database.count(rows).await;
    assert!(tally.applied > 0 && old > 0);

    apply(&applier, second, Mode::Live).await.unwrap();
    assert_eq!(parts.database.count(rows).await, old, "nothing more reaches the old generation");
    assert!(parts.database.count("select count(*) from user_directory_2.users").await > 0);
    let generations = "select count(distinct generation) from projected_aggregates where projection = 'user_directory'";
    assert_eq!(parts.database.count(generations).await, 2);
}

/// A projection as the next version of its code has it.
#[derive(Debug)]
pub struct Next(pub &'static dyn AnyProjection);

impl AnyProjection for Next {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn version(&self) -> u32 {
        self.0.version() + 1
    }
    fn tables(&self) -> &'static str {
        self.0.tables()
    }
    fn indexes(&self) -> &'static str {
        self.0.indexes()
    }
    fn topics(&self) -> &'static [&'static Topic] {
        self.0.topics()
    }
    fn decodes(&self, event: &Payload) -> Result<bool, DecodeError> {
        self.0.decodes(event)
    }
    fn begin(&self) -> Box<dyn Pending> {
        self.0.begin()
    }
}

#[tokio::test]
async fn of_two_versions_of_the_code_only_the_one_that_the_fence_names_writes() {
    let (parts, history) = Parts::with_history(seeded().random(), 400).await;
    let events = parts.events(Default::default()).await;
    let old = parts.applier("user_directory").clone();
    let next: &'static dyn AnyProjection = Box::leak(Box::new(Next(catalogue().projection("user_directory").unwrap())));
    let next = Applier { projection: next, ..old.clone() };

    let half = &events[..200];
    let refused = apply(&next, half, Mode::Live).await.unwrap_err();
    assert!(matches!(refused, apply::Error::NotWritable(_)) && !refused.is_transient(), "{refused}");
    apply(&old, half, Mode::Live).await.unwrap();
    // The rollout goes on, and both run side by side.
    parts
        .database
        .pool
        .execute("update projections set version = version + 1 where name = 'user_directory'")
        .await
        .unwrap();
    let (new, late) = tokio::join!(apply(&next, &events, Mode::Live), apply(&old, &events, Mode::Live));
    assert!(new.unwrap().applied > 0);
    assert!(matches!(late.unwrap_err(), apply::Error::NotWritable(_)));
    consistent(&parts.database.pool).await;
    // And back again: the old code does not touch what the new one built.
    assert!(matches!(apply(&old, &events, Mode::Sweep).await.unwrap_err(), apply::Error::NotWritable(_)));
    parts
        .database
        .pool
        .execute("update projections set version = version - 1 where name = 'user_directory'")
        .await
        .unwrap();
    parts.converge(&history.held()).await;
}

#[tokio::test]
async fn replays_beside_live_traffic_never_show_a_row_that_the_store_does_not_fold_to() {
    let mut rng = seeded();
    let (parts, history) = Parts::with_history(rng.random(), 1200).await;
    let events = parts.events(Default::default()).await;
    let stop = CancellationToken::new();
    let mut replays = tokio::task::JoinSet::new();
    for applier in &parts.appliers {
        for _ in 0..3 {
            let plan = replay::plan(&parts.database.pool, applier.projection, &repair().selection).await.unwrap();
            replay::create(&parts.database.pool, applier.projection, plan, &repair()).await.unwrap();
        }
    }
    for _ in 0..2 {
        replays.spawn(Replays::of(&parts.appliers).run(stop.clone()));
    }
    for batch in crate::harness::parts::disorder(&events, 2, 0.1, &mut rng).chunks(100) {
        parts.apply(batch, Mode::Live).await.unwrap();
        consistent(&parts.database.pool).await;
    }
    eventually("all replays are done", LIMIT, async || {
        let open = parts.database.count("select count(*) from operations where state <> 'succeeded'").await;
        if open == 0 { Ok(()) } else { Err(format!("{open} are not")) }
    })
    .await;
    stop.cancel();
    replays.join_all().await;
    parts.converge(&history.held()).await;
}
