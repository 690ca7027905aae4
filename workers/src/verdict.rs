//! What to do with an event, given how far its aggregate is applied. Pure.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use event_store::read::Unreadable;
use events::{AggregateId, Metadata, Payload, Recorded, TraceContext, Version};
use serde_json::value::RawValue;

/// An event on its way into projections; several may hold it. What it derefs to is its envelope for certain, and its data
/// if it is readable; an unreadable one has `null` there.
#[derive(Debug, Clone)]
pub struct Event {
    recorded: Arc<Recorded<Payload>>,
    /// Why its data cannot be had.
    unreadable: Option<Arc<str>>,
    /// The span that brought it here.
    trace: Option<TraceContext>,
}

impl Event {
    pub fn new(recorded: Recorded<Payload>) -> Self {
        Self { recorded: Arc::new(recorded), unreadable: None, trace: None }
    }

    /// Both kinds of a part of the store.
    pub fn all(events: Vec<Recorded<Payload>>, unreadable: Vec<Unreadable>) -> impl Iterator<Item = Self> {
        events.into_iter().map(Self::new).chain(unreadable.into_iter().map(Self::from))
    }

    /// In the span that brought it here.
    pub fn within(&mut self, trace: TraceContext) {
        self.trace = Some(trace);
    }

    /// The span that brought it here, or else its append.
    pub fn trace(&self) -> Option<TraceContext> {
        self.trace.or_else(|| self.data.metadata.trace())
    }

    /// Why its data cannot be had, if it cannot.
    pub fn unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }
}

impl From<Unreadable> for Event {
    fn from(event: Unreadable) -> Self {
        let recorded = Recorded {
            event_id: event.event_id,
            aggregate_id: event.aggregate_id,
            version: event.version,
            position: event.position,
            occurred_at: event.occurred_at,
            recorded_at: event.recorded_at,
            data: Payload {
                aggregate_type: event.aggregate_type,
                event_type: event.event_type,
                event_data: RawValue::NULL.to_owned(),
                metadata: Metadata::default(),
            },
        };
        Self { recorded: Arc::new(recorded), unreadable: Some(event.reason.into()), trace: None }
    }
}

impl Deref for Event {
    type Target = Recorded<Payload>;

    fn deref(&self) -> &Self::Target {
        &self.recorded
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The next of its aggregate: apply it.
    Fresh,
    /// Applied before.
    Duplicate,
    /// Something before it is missing: fetch that from the store first.
    Early,
    /// Its aggregate is held by a parked event: it waits in the store.
    Held,
}

/// How far an aggregate is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    pub version: Version,
    pub held: bool,
}

impl Applied {
    pub const NOTHING: Self = Self { version: Version::NONE, held: false };

    pub fn judge(self, version: Version) -> Verdict {
        if version <= self.version {
            Verdict::Duplicate
        } else if self.held {
            Verdict::Held
        } else if version == self.version.next() {
            Verdict::Fresh
        } else {
            Verdict::Early
        }
    }
}

/// The versions that are missing before the early events of `events`, which are in order of aggregate and version:
/// a range for each hole.
pub fn missing(events: &[Event], applied: &BTreeMap<AggregateId, Applied>) -> Vec<(AggregateId, Version, Version)> {
    let mut missing = Vec::new();
    for of_one in events.chunk_by(|a, b| a.aggregate_id == b.aggregate_id) {
        let aggregate_id = of_one[0].aggregate_id;
        let mut so_far = applied.get(&aggregate_id).copied().unwrap_or(Applied::NOTHING);
        for event in of_one {
            if so_far.judge(event.version) == Verdict::Early {
                missing.push((aggregate_id, so_far.version.next(), Version(event.version.0 - 1)));
            }
            so_far.version = so_far.version.max(event.version);
        }
    }
    missing
}

/// Puts events in order of aggregate and version, each once.
pub fn in_order(events: &mut Vec<Event>) {
    events.sort_by_key(|event| (event.aggregate_id, event.version));
    events.dedup_by_key(|event| (event.aggregate_id, event.version));
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use chrono::Utc;
    use events::{EventId, Position};
    use uuid::Uuid;

    pub(crate) fn event(aggregate: u128, version: i32) -> Event {
        Event::new(Recorded {
            event_id: EventId::generate(),
            aggregate_id: AggregateId(Uuid::from_u128(aggregate)),
            version: Version(version),
            position: Position(1),
            occurred_at: Utc::now(),
            recorded_at: Utc::now(),
            data: Payload {
                aggregate_type: "Order".into(),
                event_type: "OrderCancelled".into(),
                event_data: RawValue::from_string("{}".into()).expect("JSON"),
                metadata: Metadata::default(),
            },
        })
    }

    #[test]
    fn each_verdict_has_its_case() {
        let applied = Applied { version: Version(3), held: false };
        let held = Applied { held: true, ..applied };
        for (state, version, verdict) in [
            (applied, 3, Verdict::Duplicate),
            (applied, 1, Verdict::Duplicate),
            (applied, 4, Verdict::Fresh),
            (applied, 5, Verdict::Early),
            (held, 3, Verdict::Duplicate),
            (held, 4, Verdict::Held),
            (held, 9, Verdict::Held),
            (Applied::NOTHING, 1, Verdict::Fresh),
            (Applied::NOTHING, 2, Verdict::Early),
        ] {
            assert_eq!(state.judge(Version(version)), verdict, "{state:?} {version}");
        }
    }

    #[test]
    fn every_hole_is_named_once() {
        let mut events = vec![event(1, 7), event(1, 4), event(1, 8), event(2, 1), event(3, 2), event(1, 4)];
        in_order(&mut events);
        assert_eq!(events.len(), 5);
        let id = |id| AggregateId(Uuid::from_u128(id));
        let applied = BTreeMap::from([(id(1), Applied { version: Version(1), held: false })]);
        let expected =
            [(id(1), Version(2), Version(3)), (id(1), Version(5), Version(6)), (id(3), Version(1), Version(1))];
        assert_eq!(missing(&events, &applied), expected);
    }

    #[test]
    fn nothing_is_missing_before_what_is_held() {
        let id = AggregateId(Uuid::from_u128(1));
        let applied = BTreeMap::from([(id, Applied { version: Version(1), held: true })]);
        assert_eq!(missing(&[event(1, 5)], &applied), []);
    }

    #[test]
    fn what_is_applied_already_is_not_fetched_again_for_a_duplicate() {
        let id = AggregateId(Uuid::from_u128(1));
        let applied = BTreeMap::from([(id, Applied { version: Version(3), held: false })]);
        assert_eq!(missing(&[event(1, 2), event(1, 5)], &applied), [(id, Version(4), Version(4))]);
    }
}
