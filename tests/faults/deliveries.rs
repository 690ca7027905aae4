//! What a bus may do to deliveries, at its worst.

use std::sync::Arc;

use kill_points::hold_at;
use rand::Rng;
use tokio::task::JoinSet;
use workers::apply::{Mode, Tally};

use crate::harness::parts::{Parts, apply, disorder};
use crate::oracle::Held;
use crate::sample::seeded;

#[tokio::test]
async fn a_hundred_copies_of_each_message_fully_shuffled_and_at_once_have_one_effect() {
    let mut rng = seeded();
    let (parts, history) = Parts::with_history(rng.random(), 400).await;
    let parts = Arc::new(parts);
    let events = parts.events(Default::default()).await;
    let deliveries = disorder(&events, 100, 0.0, &mut rng);
    assert!(deliveries.len() > 10_000);
    let mut workers = JoinSet::new();
    for share in deliveries.chunks(deliveries.len().div_ceil(8)) {
        let (parts, share) = (parts.clone(), share.to_vec());
        workers.spawn(async move {
            let mut tally = Tally::default();
            for batch in share.chunks(100) {
                tally += parts.apply(batch, Mode::Live).await.unwrap();
            }
            tally
        });
    }
    let mut tally = Tally::default();
    for one in workers.join_all().await {
        tally += one;
    }
    let applied = parts.database.count("select sum(version)::bigint from projected_aggregates").await;
    assert_eq!((tally.applied + tally.skipped) as i64, applied, "each event counts once: {tally:?}");
    assert!(tally.duplicate > tally.applied, "{tally:?}");
    parts.converge(&history.held()).await;
}

#[tokio::test]
async fn an_event_redelivered_while_the_first_is_still_being_applied_waits_and_is_a_duplicate() {
    let (parts, history) = Parts::with_history(seeded().random(), 200).await;
    let events = parts.events(Default::default()).await;
    for projection in ["vocabulary", "user_directory"] {
        let applier = parts.applier(projection).clone();
        let (first, deliveries) = (applier.clone(), events.clone());
        let held =
            hold_at("apply.recorded", async move { apply(&first, &deliveries, Mode::Live).await.unwrap() }).await;
        let deliveries = events.clone();
        let second = tokio::spawn(async move { apply(&applier, &deliveries, Mode::Live).await.unwrap() });
        crate::harness::eventually("the second waits for the first", crate::harness::parts::LIMIT, async || {
            let waiting = "select count(*) from pg_stat_activity
                           where datname = current_database() and wait_event_type = 'Lock'";
            if parts.database.count(waiting).await > 0 { Ok(()) } else { Err("it does not".to_owned()) }
        })
        .await;
        let (first, second) = (held.go().await, second.await.unwrap());
        assert!(first.applied > 0, "{first:?}");
        assert_eq!((second.applied, second.duplicate), (0, first.applied + first.skipped), "{second:?}");
    }
    parts.converge(&history.held()).await;
}

#[tokio::test]
async fn the_last_event_of_an_aggregate_brings_all_that_is_missing_before_it() {
    let (parts, history) = Parts::with_history(seeded().random(), 600).await;
    let events = parts.events(Default::default()).await;
    let mut last = std::collections::HashMap::new();
    for event in &events {
        last.insert(event.aggregate_id, event.clone());
    }
    let last: Vec<_> = last.into_values().collect();
    assert!(last.len() * 2 < events.len(), "most events are not the last of theirs");
    parts.apply(&last, Mode::Live).await.unwrap();
    let unsettled: i64 = parts.database.lag().await.projections.iter().map(|status| status.lag_events).sum();
    assert_eq!(unsettled, 0, "before any sweep");
    parts.converge(&history.held()).await;
}

#[tokio::test]
async fn poison_holds_its_own_aggregates_and_no_other_in_whatever_order_it_comes() {
    let mut rng = seeded();
    let parts = Parts::new().await;
    let history = crate::histories::History::of(rng.random(), 1000).poison(rng.random(), 0.2);
    parts.load(&history.lines).await;
    let events = parts.events(Default::default()).await;
    for batch in disorder(&events, 2, 0.2, &mut rng).chunks(150) {
        parts.apply(batch, Mode::Live).await.unwrap();
    }
    assert!(!history.poisoned.is_empty());
    assert_ne!(parts.database.count("select count(*) from projected_aggregates where held").await, 0);
    let held: Held = history.held();
    parts.converge(&held).await;
    let parked = history.poisoned.iter().map(|poisoned| poisoned.projections.len() as i64).sum::<i64>();
    assert_eq!(parts.database.count("select count(*) from parked_events").await, parked);
    assert_eq!(parts.database.count("select count(*) from projected_aggregates where held").await, parked);
}
