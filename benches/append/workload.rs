//! What is appended: events like those of learning sessions, of the size that the limits were measured with.

use event_store::append::{Append, EventAsSent};
use events::{AggregateId, Version};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

const AGGREGATES: u64 = 20_000;

#[derive(Debug, Clone, Copy)]
pub struct Aggregate {
    id: AggregateId,
    version: Version,
}

/// The same in each round and for each design.
pub fn aggregates() -> Vec<Aggregate> {
    let mut rng = StdRng::seed_from_u64(AGGREGATES);
    let mut id = || AggregateId(uuid::Builder::from_random_bytes(rng.random()).into_uuid());
    (0..AGGREGATES).map(|_| Aggregate { id: id(), version: Version::NONE }).collect()
}

/// The history that is there before the writers come.
pub fn first(aggregate: &mut Aggregate) -> Append {
    append(aggregate, 2)
}

/// Appends to aggregates that nobody else appends to, so that every expected version is right.
pub struct Writer {
    aggregates: Vec<Aggregate>,
    rng: StdRng,
}

impl Writer {
    pub fn new(seed: u64, aggregates: Vec<Aggregate>) -> Self {
        Self { aggregates, rng: StdRng::seed_from_u64(seed) }
    }

    pub fn next(&mut self) -> Append {
        let count = self.rng.random_range(1..=3);
        let chosen = self.rng.random_range(0..self.aggregates.len());
        append(&mut self.aggregates[chosen], count)
    }
}

fn append(aggregate: &mut Aggregate, count: i32) -> Append {
    let expected = aggregate.version;
    aggregate.version = Version(expected.0 + count);
    let texts: Vec<_> = (0..count).map(|_| texts(aggregate.id)).collect();
    let events: Vec<_> = texts.iter().map(as_sent).collect();
    Append::new(aggregate.id, "LearningSession", Some(expected), &events)
}

fn as_sent((event_data, metadata): &(String, String)) -> EventAsSent<'_> {
    // Printed, there is a space behind each of its 28 commas and colons.
    let bytes = event_data.len() + metadata.len() + 28;
    EventAsSent { event_id: None, event_type: "CorrectnessJudged", event_data, metadata, occurred_at: None, bytes }
}

/// 286 bytes of data, 201 of metadata.
fn texts(session_id: AggregateId) -> (String, String) {
    let (causation_id, item_id) = (Uuid::now_v7(), Uuid::now_v7());
    let event_data = format!(
        r#"{{"session_id":"{session_id}","item_id":"{item_id}","judgment":"user_confirmed_correct","response_time_ms":7041,"prompt":"a waterproof waxed cloth once used as a shroud","answer":"cerecloth","hints_used":0,"attempt":1,"device":"tablet"}}"#
    );
    let metadata = format!(
        r#"{{"correlation_id":"{item_id}","causation_id":"{causation_id}","actor":"{session_id}","schema_version":1,"source":"learning-app"}}"#
    );
    (event_data, metadata)
}
