//! Postgres says no, for a while: races, locks, full disks, a table that is gone.

use std::time::Duration;

use rand::Rng;
use sqlx::{AssertSqlSafe, Executor};
use uuid::Uuid;
use workers::apply::Mode;

use crate::harness::eventually;
use crate::harness::parts::{LIMIT, Parts, apply, consistent, line};
use crate::histories::History;
use crate::sample::seeded;

/// Lets writing to `table` fail with this SQLSTATE the first so many times, commits or not.
async fn failing(parts: &Parts, table: &str, code: &str, times: u32) {
    let sql = format!(
        "create sequence failures;
         create function fail() returns trigger language plpgsql as $$
         begin
             if nextval('public.failures') <= {times} then
                 raise exception 'a fault' using errcode = '{code}';
             end if;
             return null;
         end $$;
         create trigger fail after insert or update on {table} for each statement execute function fail()"
    );
    parts.database.pool.execute(AssertSqlSafe(sql)).await.unwrap();
}

async fn failures(parts: &Parts) -> i64 {
    parts.database.count("select last_value from failures").await
}

#[tokio::test]
async fn a_lost_race_is_run_again_until_it_is_won() {
    for code in ["40001", "40P01"] {
        let (parts, history) = Parts::with_history(seeded().random(), 200).await;
        failing(&parts, "vocabulary.vocabulary_items", code, 4).await;
        let events = parts.events(Default::default()).await;
        let tally = apply(parts.applier("vocabulary"), &events, Mode::Live).await.unwrap();
        assert!(tally.applied > 0 && tally.parked == 0, "{tally:?}");
        assert!(failures(&parts).await > 4, "it did fail");
        parts.converge(&history.held()).await;
    }
}

#[tokio::test]
async fn two_workers_with_crossing_batches_do_not_park_what_they_fight_for() {
    let mut rng = seeded();
    let (parts, history) = Parts::with_history(rng.random(), 600).await;
    let events = parts.events(Default::default()).await;
    let mut workers = tokio::task::JoinSet::new();
    for forth in [true, false, true, false] {
        let (appliers, mut events) = (parts.appliers.clone(), events.clone());
        if !forth {
            events.reverse();
        }
        workers.spawn(async move {
            for batch in events.chunks(20) {
                for applier in &appliers {
                    assert_eq!(apply(applier, batch, Mode::Live).await.unwrap().parked, 0);
                }
            }
        });
    }
    workers.join_all().await;
    parts.converge(&history.held()).await;
}

#[tokio::test]
async fn a_full_disk_parks_nothing_and_is_over_when_it_is_over() {
    let (parts, history) = Parts::with_history(seeded().random(), 200).await;
    failing(&parts, "projected_aggregates", "53100", 3).await;
    let events = parts.events(Default::default()).await;
    for _ in 0..3 {
        let error = apply(parts.applier("vocabulary"), &events, Mode::Live).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        consistent(&parts.database.pool).await;
    }
    parts.apply(&events, Mode::Live).await.unwrap();
    assert_eq!(parts.database.count("select count(*) from parked_events").await, 0);
    parts.converge(&history.held()).await;
}

#[tokio::test]
async fn a_migration_that_locks_one_read_model_delays_that_one_only() {
    let (parts, history) = Parts::with_history(seeded().random(), 300).await;
    let events = parts.events(Default::default()).await;
    let mut migration = parts.database.pool.begin().await.unwrap();
    migration.execute("lock table user_directory.users in access exclusive mode").await.unwrap();

    let (waiting, deliveries) = (parts.applier("user_directory").clone(), events.clone());
    let waiting = tokio::spawn(async move { apply(&waiting, &deliveries, Mode::Live).await.unwrap() });
    for projection in ["vocabulary", "learner_progress", "learner_journeys"] {
        let applied = apply(parts.applier(projection), &events, Mode::Live);
        assert!(tokio::time::timeout(Duration::from_secs(20), applied).await.unwrap().unwrap().applied > 0);
    }
    assert!(!waiting.is_finished());
    migration.rollback().await.unwrap();
    assert!(waiting.await.unwrap().applied > 0);
    parts.converge(&history.held()).await;
}

#[tokio::test]
async fn a_transaction_that_stays_open_on_the_head_delays_appends_and_leaves_no_gap() {
    let mut rng = seeded();
    let parts = Parts::new().await;
    let history = History::of(rng.random(), 60);
    let (before, after) = history.lines.split_at(history.lines.len() / 2);
    parts.load(before).await;
    let head = parts.database.head().await;

    // A writer of its own that has positions and has not committed, as the store's own statement leaves it for a moment.
    let mut open = parts.database.pool.begin().await.unwrap();
    open.execute("update event_store_head set position = position + 5, epoch = epoch + 1").await.unwrap();
    let (appender, lines) = (parts.appender.clone(), after.to_vec());
    assert_eq!(parts.database.head().await, head, "nobody sees the positions that may never be");
    let waiting = parts.append(&lines[0]);
    assert!(tokio::time::timeout(Duration::from_millis(500), waiting).await.is_err(), "it waits");
    parts.sweep().await;
    open.rollback().await.unwrap();

    drop(appender);
    // The first of them was asked for before, and was written although its caller had gone.
    eventually("the forgotten append is there", LIMIT, async || {
        let now = parts.database.head().await;
        if now > head { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    parts.load(&lines[1..]).await;
    let gaps =
        "select count(*) from (select position - lag(position, 1, 0) over (order by position) as step from events) as s
                where step <> 1";
    assert_eq!(parts.database.count(gaps).await, 0);
    parts.converge(&history.held()).await;
}

#[tokio::test]
async fn poison_that_cannot_be_parked_is_not_acknowledged() {
    let mut rng = seeded();
    let parts = Parts::new().await;
    let history = History::of(rng.random(), 300).poison(rng.random(), 0.2);
    parts.load(&history.lines).await;
    let events = parts.events(Default::default()).await;
    parts.database.pool.execute("alter table parked_events rename to elsewhere").await.unwrap();
    let mut failed = 0;
    for applier in &parts.appliers {
        // An error, and so no ack: Worker::settle acknowledges what `apply` has returned Ok for.
        failed += u32::from(apply(applier, &events, Mode::Live).await.is_err());
    }
    assert!(failed > 0, "there was poison");
    consistent(&parts.database.pool).await;
    parts.database.pool.execute("alter table elsewhere rename to parked_events").await.unwrap();
    parts.apply(&events, Mode::Live).await.unwrap();
    parts.converge(&history.held()).await;
    assert_ne!(parts.database.count("select count(*) from parked_events").await, 0);
}

#[tokio::test]
async fn text_too_long_for_an_index_is_parked_and_holds_one_aggregate() {
    let parts = Parts::new().await;
    let [long, other] = [(); 2].map(|()| Uuid::now_v7());
    // Random, so that it cannot be compressed below the limit of an index row.
    let mut rng = seeded();
    let spelling: String = (0..60_000).map(|_| char::from(rng.random_range(b'a'..=b'z'))).collect();
    for (aggregate, spelling) in [(long, spelling.as_str()), (other, "short")] {
        let data = serde_json::json!({"entry_id": aggregate, "spelling": spelling});
        parts.append(&line("VocabularyEntry", aggregate, 0, "EntryCreated", &data)).await.unwrap();
    }
    parts.database.pool.execute("create index by_spelling on vocabulary.entries (spelling)").await.unwrap();
    let events = parts.events(Default::default()).await;
    let tally = apply(parts.applier("vocabulary"), &events, Mode::Live).await.unwrap();
    assert_eq!((tally.applied, tally.parked), (1, 1), "{tally:?}");
    assert_eq!(parts.database.count("select count(*) from parked_events where reason = 'write_failed'").await, 1);
}
