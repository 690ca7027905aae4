//! The laws of the author's test kit, kept by every read model there is.

use std::collections::BTreeMap;

use event_store::read::{self, Filter};
use events::{AggregateId, EventId, Payload, Recorded, Version};
use projections::learner_journeys::LearnerJourneys;
use projections::learner_progress::LearnerProgress;
use projections::user_directory::UserDirectory;
use projections::vocabulary::Vocabulary;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use read_model::Projection;
use read_model::testing::any_cut;

use crate::harness::full_size;
use crate::harness::parts::Parts;
use crate::sample::seeded;

/// A history in which anything may happen again: sessions start twice, users sign up anew, items are made once more.
async fn again(parts: &Parts, rng: &mut StdRng) -> Vec<Recorded<Payload>> {
    let head = parts.database.head().await;
    let page = read::page(&parts.database.pool, Default::default(), head, head.0, &Filter::default()).await.unwrap();
    let mut so_far: BTreeMap<AggregateId, Vec<Recorded<Payload>>> = BTreeMap::new();
    let mut events = Vec::new();
    for event in page.events {
        let of_one = so_far.entry(event.aggregate_id).or_default();
        let repeated = if rng.random_bool(0.3) { of_one.choose(rng).cloned() } else { None };
        for mut event in
            repeated.into_iter().map(|event| Recorded { event_id: EventId::generate(), ..event }).chain([event])
        {
            event.version = Version(of_one.len() as i32 + 1);
            of_one.push(event.clone());
            events.push(event);
        }
    }
    events
}

async fn law<P: Projection>(parts: &Parts, events: &[Recorded<Payload>], rng: &mut StdRng) {
    let decoded: Vec<_> = events.iter().filter_map(|event| event.decode::<P::Event>().ok()?).collect();
    assert!(decoded.len() > 20, "{} events for {}", decoded.len(), P::NAME);
    let mut db = parts.database.pool.acquire().await.unwrap();
    any_cut::<P>(&mut db, &decoded, if full_size() { 100 } else { 6 }, rng.random()).await.unwrap();
}

#[tokio::test]
async fn however_a_history_is_cut_into_batches_the_rows_and_the_poison_are_the_same() {
    let mut rng = seeded();
    let (parts, _) = Parts::with_history(rng.random(), if full_size() { 3000 } else { 400 }).await;
    let events = again(&parts, &mut rng).await;
    law::<Vocabulary>(&parts, &events, &mut rng).await;
    law::<LearnerProgress>(&parts, &events, &mut rng).await;
    law::<LearnerJourneys>(&parts, &events, &mut rng).await;
    law::<UserDirectory>(&parts, &events, &mut rng).await;
}
