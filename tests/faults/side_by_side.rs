//! Operations and lanes beside each other: one that stands still holds up no other, and ends with its worker.

use std::sync::Arc;

use projections::topics::PROGRESS;
use rand::Rng;
use sqlx::{AssertSqlSafe, Executor};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::audit::Attribution;
use workers::operations::{self, Operation};
use workers::replay::{self, NewReplay, Replays};

use super::answers::{Answers, delivered, worker};
use crate::harness::parts::{LIMIT, Parts};
use crate::harness::{Database, eventually};
use crate::sample::seeded;

async fn repair(parts: &Parts, projection: &str) -> Uuid {
    let (pool, projection) = (&parts.database.pool, parts.applier(projection).projection);
    let selection = serde_json::from_str("{}").unwrap();
    let plan = replay::plan(pool, projection, &selection).await.unwrap();
    let new = NewReplay { selection, rate: None, by: Attribution::default(), idempotency_key: None };
    replay::create(pool, projection, plan, &new).await.unwrap()
}

async fn operation(parts: &Parts, id: Uuid) -> Operation {
    operations::get(&parts.database.pool, id).await.unwrap().unwrap()
}

async fn succeeded(parts: &Parts, id: Uuid) -> Operation {
    eventually("it succeeds", LIMIT, async || {
        let operation = operation(parts, id).await;
        if operation.state == operations::State::Succeeded { Ok(operation) } else { Err(format!("{operation:?}")) }
    })
    .await
}

const WAITING: &str = "select count(*) from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'";

async fn waits_for_the_lock(parts: &Parts) {
    eventually("it stands still", LIMIT, async || match parts.database.count(WAITING).await {
        0 => Err("nobody waits".to_owned()),
        _ => Ok(()),
    })
    .await;
}

#[tokio::test]
async fn a_repair_that_stands_still_holds_up_no_other() {
    let (parts, history) = Parts::with_history(seeded().random(), 400).await;
    let mut lock = parts.database.pool.begin().await.unwrap();
    lock.execute("lock table learner_journeys.learner_journeys in access exclusive mode").await.unwrap();
    let slow = repair(&parts, "learner_journeys").await;
    let stop = CancellationToken::new();
    let replaying = tokio::spawn(Replays::of(&parts.appliers).run(stop.clone()));
    waits_for_the_lock(&parts).await;
    for projection in ["learner_progress", "user_directory", "vocabulary"] {
        let other = repair(&parts, projection).await;
        succeeded(&parts, other).await;
    }
    assert_ne!(operation(&parts, slow).await.state, operations::State::Succeeded);
    lock.rollback().await.unwrap();
    succeeded(&parts, slow).await;
    stop.cancel();
    replaying.await.unwrap();
    parts.converge(&history.held()).await;
}

/// Each way it seems to be without a sign of life, so that another takes it over while the first is in the middle of a page.
#[tokio::test]
async fn a_repair_that_is_taken_over_because_the_clock_jumped_has_one_effect() {
    for jump in ["+ interval '1 hour'", "- interval '1 hour'"] {
        let (parts, history) = Parts::with_history(seeded().random(), 300).await;
        let mut lock = parts.database.pool.begin().await.unwrap();
        lock.execute("lock table vocabulary.vocabulary_items in access exclusive mode").await.unwrap();
        let id = repair(&parts, "vocabulary").await;
        let stop = CancellationToken::new();
        let first = tokio::spawn(Replays::of(&parts.appliers).run(stop.clone()));
        waits_for_the_lock(&parts).await;
        let runner = "select runner from operations where kind = 'repair'";
        let runner =
            async || sqlx::query_scalar::<_, Option<Uuid>>(runner).fetch_one(&parts.database.pool).await.unwrap();
        let before = runner().await;
        let other = Parts::reaching(Database::existing(&parts.database.url), &parts.database.url);
        let second = tokio::spawn(Replays::of(&other.appliers).run(stop.clone()));
        let jumped = format!("update operations set heartbeat_at = now() {jump} where state = 'running'");
        eventually("another takes it over", LIMIT, async || {
            // The first gives a sign of life now and then.
            parts.database.pool.execute(AssertSqlSafe(jumped.clone())).await.unwrap();
            let now = runner().await;
            if now != before && now.is_some() { Ok(()) } else { Err(format!("{now:?}")) }
        })
        .await;
        lock.rollback().await.unwrap();
        let done = succeeded(&parts, id).await;
        assert_eq!(done.position, done.last_position);
        stop.cancel();
        first.await.unwrap();
        second.await.unwrap();
        parts.converge(&history.held()).await;
    }
}

#[tokio::test]
async fn a_lane_that_was_left_behind_ends_with_its_worker() {
    let (parts, history) = Parts::with_history(seeded().random(), 400).await;
    let mut lock = parts.database.pool.begin().await.unwrap();
    lock.execute("lock table learner_journeys.learner_journeys in access exclusive mode").await.unwrap();
    let answers = Arc::new(Answers::default());
    let (count, sender, deliveries) = delivered(&parts, &PROGRESS, &answers).await;
    let _open = sender.clone();
    let stop = CancellationToken::new();
    let running = tokio::spawn(worker(&parts, &PROGRESS).run(Vec::new(), deliveries, sender, stop.clone()));
    eventually("it is left behind", LIMIT, async || match answers.of() {
        (acked, 0) if acked == count => Ok(()),
        other => Err(format!("{other:?} of {count}")),
    })
    .await;
    waits_for_the_lock(&parts).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    // The lock is still there: who waited for it has gone.
    eventually("nobody waits", LIMIT, async || match parts.database.count(WAITING).await {
        0 => Ok(()),
        waiting => Err(format!("{waiting} wait")),
    })
    .await;
    lock.rollback().await.unwrap();
    let late = "select count(*) from projected_aggregates where projection = 'learner_journeys'";
    assert_eq!(parts.database.count(late).await, 0, "nothing of it was applied after its worker");
    parts.converge(&history.held()).await;
}

/// Without its sweep, which takes what a worker does not remember.
#[tokio::test]
async fn what_a_lane_missed_while_it_was_left_behind_it_takes_when_it_is_done() {
    let (parts, history) = Parts::with_history(seeded().random(), 400).await;
    let mut lock = parts.database.pool.begin().await.unwrap();
    lock.execute("lock table learner_journeys.learner_journeys in access exclusive mode").await.unwrap();
    let answers = Arc::new(Answers::default());
    let (count, _open, mut coming) = delivered(&parts, &PROGRESS, &answers).await;
    let (sender, deliveries) = mpsc::channel(10_000);
    let stop = CancellationToken::new();
    let running = worker(&parts, &PROGRESS).run(Vec::new(), deliveries, sender.clone(), stop.clone());
    let running = tokio::spawn(running);
    for half in [count / 2, count] {
        while coming.len() > (count - half) as usize {
            sender.send(coming.recv().await.unwrap()).await.unwrap();
        }
        eventually("the sibling is done, and waits for nobody", LIMIT, async || match answers.of() {
            (acked, 0) if acked == half => Ok(()),
            other => Err(format!("{other:?} of {half}")),
        })
        .await;
    }
    let missing = "select count(*) from projected_aggregates as sibling
        where projection = 'learner_progress' and not exists (
            select from projected_aggregates as late
            where late.projection = 'learner_journeys'
            and late.aggregate_id = sibling.aggregate_id and late.version = sibling.version)";
    assert!(parts.database.count(missing).await > 0);
    lock.rollback().await.unwrap();
    eventually("it has what its sibling has", LIMIT, async || match parts.database.count(missing).await {
        0 => Ok(()),
        missing => Err(format!("{missing} are missing")),
    })
    .await;
    stop.cancel();
    running.await.unwrap().unwrap();
    parts.converge(&history.held()).await;
}
