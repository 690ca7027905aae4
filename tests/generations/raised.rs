//! A raised version of the code.

use rand::Rng;
use read_model::AnyProjection;
use sqlx::AssertSqlSafe;
use tokio_util::sync::CancellationToken;
use workers::apply::Applier;
use workers::generations::gate::Way;
use workers::generations::{Generations, Raised, Standing, rebuild};
use workers::operations::State;

use crate::faults::fences::Next;
use crate::harness::parts::{LIMIT, Parts};
use crate::harness::{catalogue, eventually};
use crate::histories::History;
use crate::oracle::Held;
use crate::sample::seeded;

use super::{Keeping, PROGRESS, all, by, exchanged, is, start};

/// While a projection is developed, a raised version is all that anybody has to say. Two versions of the code side by side: each
/// keeps what it has built, and the way back is the old one's.
#[tokio::test]
async fn a_raised_version_is_built_and_promoted_by_itself_and_the_old_code_keeps_the_way_back() {
    let (parts, _) = Parts::with_history(seeded().random(), 1000).await;
    parts.sweep().await;
    let old = Keeping::of(&parts);
    let next: &'static dyn AnyProjection = Box::leak(Box::new(Next(catalogue().projection(PROGRESS).unwrap())));
    let applier = Applier { projection: next, ..parts.applier(PROGRESS).clone() };
    let reading = parts.database.pool.clone();
    let keeper = Generations {
        appliers: vec![applier],
        head: Default::default(),
        reading,
        raised: Raised::Promoted,
        throttled: true,
    };
    let stop = CancellationToken::new();
    let new = tokio::spawn(keeper.run(stop.clone()));
    eventually("the next version is live", LIMIT, async || {
        let newest = all(&parts, PROGRESS).await.swap_remove(0);
        let is = (newest.version, newest.standing);
        if is == (2, Standing::Live) { Ok(()) } else { Err(format!("{is:?}")) }
    })
    .await;
    let rebuilds = "select count(*) from operations where kind in ('rebuild', 'promote')";
    assert_eq!(parts.database.count(rebuilds).await, 2, "one rebuild, one promote");
    // What is appended now the old code applies to the old generation, or going back would lose it.
    parts.load(&History::of(11, 300).lines).await;
    let head = parts.database.head().await;
    eventually("the one before follows the store", LIMIT, async || match all(&parts, PROGRESS).await[1].position {
        Some(position) if position >= head.0 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    stop.cancel();
    new.await.unwrap();
    exchanged(&parts, PROGRESS, Way::Rollback).await;
    old.stop().await;
    assert_eq!(all(&parts, PROGRESS).await[1].standing, Standing::Live);
    parts.converge(&Held::default()).await;
}

/// Whoever develops and raises the version twice does not wait for what he has left behind.
#[tokio::test]
async fn while_a_projection_is_developed_the_rebuild_of_another_version_makes_room() {
    let (parts, _) = Parts::with_history(seeded().random(), 300).await;
    parts.sweep().await;
    let old = Keeping::of(&parts);
    let left = start(&parts, PROGRESS, 1).await;
    is(&parts, left, State::Waiting).await;
    old.stop().await;
    let next: &'static dyn AnyProjection = Box::leak(Box::new(Next(catalogue().projection(PROGRESS).unwrap())));
    let applier = Applier { projection: next, ..parts.applier(PROGRESS).clone() };
    let reading = parts.database.pool.clone();
    let raised = Raised::Promoted;
    let keeper = Generations { appliers: vec![applier], head: Default::default(), reading, raised, throttled: true };
    let stop = CancellationToken::new();
    let new = Keeping { running: tokio::spawn(keeper.run(stop.clone())), stop };
    eventually("the next version is live", LIMIT, async || {
        let newest = all(&parts, PROGRESS).await.swap_remove(0);
        let is = (newest.version, newest.standing);
        if is == (2, Standing::Live) { Ok(()) } else { Err(format!("{is:?}")) }
    })
    .await;
    is(&parts, left, State::Cancelled).await;
    new.stop().await;
}

/// Whoever develops mends what was wrong, and starts again.
#[tokio::test]
async fn while_a_projection_is_developed_a_rebuild_that_failed_is_tried_again_by_the_next_start() {
    let (parts, _) = Parts::with_history(seeded().random(), 300).await;
    parts.sweep().await;
    let next: &'static dyn AnyProjection = Box::leak(Box::new(Next(catalogue().projection(PROGRESS).unwrap())));
    let start = || {
        let applier = Applier { projection: next, ..parts.applier(PROGRESS).clone() };
        let reading = parts.database.pool.clone();
        let raised = Raised::Promoted;
        let keeper =
            Generations { appliers: vec![applier], head: Default::default(), reading, raised, throttled: true };
        let stop = CancellationToken::new();
        Keeping { running: tokio::spawn(keeper.run(stop.clone())), stop }
    };
    // Its tables cannot be made.
    let there = format!("{PROGRESS}__g2");
    sqlx::raw_sql(AssertSqlSafe(format!("create schema {there}"))).execute(&parts.database.pool).await.unwrap();
    let rebuilds = "select count(*) from operations where kind = 'rebuild'";
    for _ in 0..2 {
        let (before, process) = (parts.database.count(rebuilds).await, start());
        let failed = "select count(*) from operations where kind = 'rebuild' and state = 'failed'";
        eventually("it has failed", LIMIT, async || match parts.database.count(failed).await {
            now if now > before => Ok(()),
            now => Err(format!("{now} have")),
        })
        .await;
        process.stop().await;
        assert_eq!(parts.database.count(rebuilds).await, before + 1, "once in a process");
    }
    sqlx::raw_sql(AssertSqlSafe(format!("drop schema {there}"))).execute(&parts.database.pool).await.unwrap();
    let process = start();
    eventually("the next version is live", LIMIT, async || {
        let newest = all(&parts, PROGRESS).await.swap_remove(0);
        let is = (newest.version, newest.standing);
        if is == (2, Standing::Live) { Ok(()) } else { Err(format!("{is:?}")) }
    })
    .await;
    process.stop().await;
}

/// In production nobody promotes but a person; and what he has cancelled is not begun again.
#[tokio::test]
async fn a_raised_version_is_built_once_and_waits_for_a_person() {
    let (parts, _) = Parts::with_history(seeded().random(), 300).await;
    parts.sweep().await;
    let next: &'static dyn AnyProjection = Box::leak(Box::new(Next(catalogue().projection(PROGRESS).unwrap())));
    let keep = |projection| {
        let applier = Applier { projection, ..parts.applier(PROGRESS).clone() };
        let reading = parts.database.pool.clone();
        let keeper = Generations {
            appliers: vec![applier],
            head: Default::default(),
            reading,
            raised: Raised::Built,
            throttled: true,
        };
        let stop = CancellationToken::new();
        Keeping { running: tokio::spawn(keeper.run(stop.clone())), stop }
    };
    // The code that built it, and two workers of the next.
    let keepers = [catalogue().projection(PROGRESS).unwrap(), next, next].map(keep);
    eventually("the next version waits", LIMIT, async || {
        let newest = all(&parts, PROGRESS).await.swap_remove(0);
        let is = (newest.generation, newest.version, newest.standing);
        if is == (2, 2, Standing::Ready) { Ok(()) } else { Err(format!("{is:?}")) }
    })
    .await;
    let asked = "select count(*) from operations";
    assert_eq!(parts.database.count(asked).await, 1, "one rebuild, and nothing else");
    let operation = all(&parts, PROGRESS).await[0].operation.unwrap();
    rebuild::cancel(&parts.database.pool, operation, &by()).await.unwrap();
    // They have looked several times until then.
    eventually("it is forgotten", LIMIT, async || {
        match parts.database.count("select count(*) from generations where forgotten_at is not null").await {
            1 => Ok(()),
            left => Err(left.to_string()),
        }
    })
    .await;
    assert_eq!(parts.database.count(asked).await, 1, "it is not begun again");
    for keeper in keepers {
        keeper.stop().await;
    }
}
