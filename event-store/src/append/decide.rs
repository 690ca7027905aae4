//! Which requests of a batch are written, with which versions, and which are refused. Pure: no database here.

use std::collections::{HashMap, HashSet};

use events::{AggregateId, EventId, Version};

use super::heads::AggregateHead;
use super::{Append, Appended, Error};

/// What is known of the store when a batch is decided.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Where every aggregate in the batch is; absent means it has no events.
    pub heads: HashMap<AggregateId, AggregateHead>,
    /// The idempotency keys of the batch that were used before.
    pub keys: HashMap<String, UsedKey>,
    /// The event ids of the batch that are in the store.
    pub events: HashMap<EventId, (AggregateId, Appended)>,
}

#[derive(Debug)]
pub(super) struct UsedKey {
    pub digest: Vec<u8>,
    pub answer: Vec<Appended>,
}

/// What happens to one request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Write it; its first event gets this version.
    Write(Version),
    Answer(Result<Vec<Appended>, Error>),
    /// It repeats a key or an event id of a request before it in this very batch: decide it in the next one, when the
    /// outcome of that request is known.
    Later,
}

/// Decides the requests in order. A batch may hold a chain of appends to one aggregate.
pub(super) fn decide<'a>(batch: impl Iterator<Item = (&'a Append, bool)>, known: &'a Known) -> Vec<Decision> {
    let mut heads: HashMap<AggregateId, (Version, &str)> = HashMap::new();
    let mut keys: HashSet<&str> = HashSet::new();
    let mut event_ids: HashSet<EventId> = HashSet::new();

    let mut one = |append: &'a Append, attempted: bool| {
        if let Some(key) = &append.idempotency_key {
            if let Some(used) = known.keys.get(key) {
                return Decision::Answer(if used.digest == append.digest {
                    Ok(used.answer.clone())
                } else {
                    Err(Error::KeyReused(key.clone()))
                });
            }
            if keys.contains(key.as_str()) {
                return Decision::Later;
            }
        }
        if append.events.iter().any(|event| event_ids.contains(&event.event_id)) {
            return Decision::Later;
        }
        if attempted
            && append.made_ids
            && let Some(answer) = landed(append, known)
        {
            return Decision::Answer(Ok(answer));
        }
        if let Some(event) = append.events.iter().find(|event| known.events.contains_key(&event.event_id)) {
            return Decision::Answer(Err(Error::EventExists(event.event_id)));
        }
        let aggregate_id = append.aggregate_id;
        let stored = || known.heads.get(&aggregate_id).map(|head| (head.version, &*head.aggregate_type));
        let (current, aggregate_type) =
            heads.get(&aggregate_id).copied().or_else(stored).unwrap_or((Version::NONE, &append.aggregate_type));
        if *aggregate_type != *append.aggregate_type {
            return Decision::Answer(Err(Error::AnotherType {
                aggregate_id,
                aggregate_type: aggregate_type.to_owned(),
                sent: append.aggregate_type.to_string(),
            }));
        }
        if let Some(expected) = append.expected_version
            && expected != current
        {
            return Decision::Answer(Err(Error::VersionConflict { aggregate_id, expected, current }));
        }
        let count = i32::try_from(append.events.len()).unwrap_or(i32::MAX);
        let Some(last) = current.0.checked_add(count) else {
            return Decision::Answer(Err(Error::VersionsExhausted { aggregate_id }));
        };
        heads.insert(aggregate_id, (Version(last), aggregate_type));
        keys.extend(append.idempotency_key.as_deref());
        event_ids.extend(append.events.iter().map(|event| event.event_id));
        Decision::Write(current.next())
    };
    batch.map(|(append, attempted)| one(append, attempted)).collect()
}

/// The answer of a request whose commit we never heard of, if that commit did happen: its events, with ids that were
/// made here and that nobody else can have, are in the store.
fn landed(append: &Append, known: &Known) -> Option<Vec<Appended>> {
    let stored = |id: &EventId| {
        known
            .events
            .get(id)
            .filter(|(aggregate_id, _)| *aggregate_id == append.aggregate_id)
            .map(|(_, appended)| *appended)
    };
    append.events.iter().map(|event| stored(&event.event_id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::Position;

    use crate::append::EventAsSent;
    use uuid::Uuid;

    fn at(version: i32) -> AggregateHead {
        AggregateHead { version: Version(version), aggregate_type: "Order".into() }
    }

    fn append(aggregate: u128, expected: Option<i32>) -> Append {
        let (event_type, event_data, metadata) = ("OrderCancelled", "{}", "{}");
        let event = EventAsSent { event_id: None, event_type, event_data, metadata, occurred_at: None, bytes: 4 };
        Append::new(AggregateId(Uuid::from_u128(aggregate)), "Order", expected.map(Version), &[event])
    }

    fn decided(batch: &[Append], known: &Known) -> Vec<Decision> {
        decide(batch.iter().map(|append| (append, false)), known)
    }

    #[test]
    fn a_batch_may_hold_a_chain_of_appends_to_one_aggregate() {
        let known = Known { heads: HashMap::from([(AggregateId(Uuid::from_u128(1)), at(4))]), ..Known::default() };
        let decisions = decided(&[append(1, Some(4)), append(2, Some(0)), append(1, Some(5)), append(1, None)], &known);
        let expected = [5, 1, 6, 7].map(|version| Decision::Write(Version(version)));
        assert_eq!(decisions, expected);
    }

    #[test]
    fn a_conflict_leaves_its_neighbours_alone() {
        let decisions = decided(&[append(1, Some(0)), append(1, Some(0)), append(1, Some(1))], &Known::default());
        assert_eq!(decisions[0], Decision::Write(Version(1)));
        assert!(matches!(
            decisions[1],
            Decision::Answer(Err(Error::VersionConflict { expected: Version(0), current: Version(1), .. }))
        ));
        assert_eq!(decisions[2], Decision::Write(Version(2)));
    }

    #[test]
    fn an_aggregate_keeps_the_type_that_it_has_or_is_being_given() {
        let known = Known { heads: HashMap::from([(AggregateId(Uuid::from_u128(1)), at(4))]), ..Known::default() };
        let of = |aggregate_type: &str, append: Append| Append { aggregate_type: aggregate_type.into(), ..append };
        let batch =
            [of("Oder", append(1, Some(4))), of("Invoice", append(2, None)), append(2, None), append(1, Some(4))];
        let decisions = decided(&batch, &known);
        let another = |aggregate: u128, aggregate_type: &str, sent: &str| {
            Decision::Answer(Err(Error::AnotherType {
                aggregate_id: AggregateId(Uuid::from_u128(aggregate)),
                aggregate_type: aggregate_type.to_owned(),
                sent: sent.to_owned(),
            }))
        };
        assert_eq!(decisions[0], another(1, "Order", "Oder"));
        assert_eq!(decisions[1], Decision::Write(Version(1)));
        assert_eq!(decisions[2], another(2, "Invoice", "Order"));
        assert_eq!(decisions[3], Decision::Write(Version(5)));
    }

    #[test]
    fn a_used_key_answers_as_the_first_time_even_if_the_version_has_moved_on() {
        let answer =
            vec![Appended { event_id: EventId::generate(), version: Version(1), position: Position(9), known: true }];
        let again = Append { idempotency_key: Some("k".into()), ..append(1, Some(0)) };
        let used = UsedKey { digest: again.digest.to_vec(), answer: answer.clone() };
        let known = Known { keys: HashMap::from([("k".into(), used)]), ..Known::default() };
        let other = Append { digest: [1; 32], ..again.clone() };
        let decisions = decided(&[again, other], &known);
        assert_eq!(decisions[0], Decision::Answer(Ok(answer)));
        assert_eq!(decisions[1], Decision::Answer(Err(Error::KeyReused("k".into()))));
    }

    #[test]
    fn a_repetition_within_the_batch_waits_for_the_outcome_of_the_first() {
        let first = Append { idempotency_key: Some("k".into()), ..append(1, Some(0)) };
        let same_event =
            Append { idempotency_key: None, aggregate_id: AggregateId(Uuid::from_u128(2)), ..first.clone() };
        let decisions = decided(&[first.clone(), first, same_event], &Known::default());
        assert_eq!(decisions, [Decision::Write(Version(1)), Decision::Later, Decision::Later]);
    }

    #[test]
    fn an_unknown_commit_that_happened_is_a_success_and_somebody_elses_event_is_not() {
        let request = append(1, Some(0));
        let appended =
            Appended { event_id: request.events[0].event_id, version: Version(1), position: Position(3), known: true };
        let known = Known {
            heads: HashMap::from([(request.aggregate_id, at(1))]),
            events: HashMap::from([(appended.event_id, (request.aggregate_id, appended))]),
            ..Known::default()
        };
        let attempted = decide([(&request, true)].into_iter(), &known);
        assert_eq!(attempted, [Decision::Answer(Ok(vec![appended]))]);
        let fresh = decide([(&request, false)].into_iter(), &known);
        assert_eq!(fresh, [Decision::Answer(Err(Error::EventExists(appended.event_id)))]);
    }
}
