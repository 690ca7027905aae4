//! What is appended: events like those of learning sessions, of the size that the limits were measured with.

use chrono::Utc;
use event_store::append::Append;
use events::{AggregateId, EventId, NewEvent, Version};
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
    Append {
        aggregate_id: aggregate.id,
        aggregate_type: "LearningSession".to_owned(),
        expected_version: Some(expected),
        idempotency_key: None,
        events: (0..count).map(|_| event(aggregate.id)).collect(),
        made_ids: true,
        traceparent: None,
        digest: [0; 32],
    }
}

/// 286 bytes of data, 201 of metadata.
fn event(session_id: AggregateId) -> NewEvent {
    let event_id = EventId::generate();
    let item_id = Uuid::now_v7();
    NewEvent {
        event_id,
        event_type: "CorrectnessJudged".to_owned(),
        event_data: format!(
            r#"{{"session_id":"{session_id}","item_id":"{item_id}","judgment":"user_confirmed_correct","response_time_ms":7041,"prompt":"a waterproof waxed cloth once used as a shroud","answer":"cerecloth","hints_used":0,"attempt":1,"device":"tablet"}}"#
        ),
        metadata: format!(
            r#"{{"correlation_id":"{item_id}","causation_id":"{event_id}","actor":"{session_id}","schema_version":1,"source":"learning-app"}}"#
        ),
        occurred_at: Utc::now(),
        // Printed, there is a space behind each of its 28 commas and colons.
        bytes: 286 + 201 + 28,
    }
}
