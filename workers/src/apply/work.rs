//! What is left to do of some events, and how it is cut when it does not go through. Pure.

use std::collections::{BTreeMap, BTreeSet};

use events::{AggregateId, EventId};

use crate::dead_letters::park::Reason;
use crate::verdict::{self, Event};

/// How often a single event may take longer than Postgres lets it, until it is taken for poison.
const STRIKES: u32 = 3;

/// Failures without a success between them after which it is Postgres that is not well.
const FAILURES_IN_A_ROW: u32 = 3;

/// Events that are to be parked, and why.
pub(crate) type Condemned = BTreeMap<EventId, (Reason, String)>;

#[derive(Debug, Default)]
pub(super) struct Work {
    /// The next one last; each in order of aggregate and version.
    batches: Vec<Vec<Event>>,
    /// Events that were too much alone, and what follows them in their aggregates: for when all else is done.
    aside: Vec<Event>,
    stuck: BTreeSet<AggregateId>,
    strikes: BTreeMap<EventId, u32>,
    condemned: Condemned,
    /// In a row.
    failures: u32,
}

impl Work {
    pub fn of(mut events: Vec<Event>) -> Self {
        verdict::in_order(&mut events);
        Self { batches: vec![events], ..Self::default() }
    }

    pub fn condemned(&self) -> &Condemned {
        &self.condemned
    }

    /// The next events to try, at most `most`.
    pub fn next(&mut self, most: usize) -> Option<Vec<Event>> {
        while let Some(mut batch) = self.batches.pop() {
            if batch.len() > most {
                self.batches.push(batch.split_off(most));
            }
            if !self.stuck.is_empty() {
                let stuck = batch.extract_if(.., |event| self.stuck.contains(&event.aggregate_id));
                self.aside.extend(stuck);
            }
            if !batch.is_empty() {
                return Some(batch);
            }
        }
        None
    }

    /// What was put aside for being too slow, again, each of them alone and first. `false`: there is nothing.
    pub fn try_again(&mut self) -> bool {
        self.stuck.clear();
        let mut rest = std::mem::take(&mut self.aside);
        verdict::in_order(&mut rest);
        let slow: Vec<_> = rest.extract_if(.., |event| self.strikes.contains_key(&event.event_id)).collect();
        let any = !slow.is_empty();
        self.batches.push(rest);
        self.batches.extend(slow.into_iter().map(|event| vec![event]));
        any
    }

    /// Some of a batch went through; `early` is for another time.
    pub fn went_through(&mut self, mut early: Vec<Event>) {
        self.failures = 0;
        verdict::in_order(&mut early);
        self.batches.push(early);
    }

    /// One event of the batch is poison. Halves keep the order, and what follows the poison in its aggregate will find it
    /// held. Alone, it is condemned.
    pub fn is_poison(&mut self, batch: Vec<Event>, reason: Reason, error: String) {
        if let [event] = &batch[..] {
            self.condemned.insert(event.event_id, (reason, error));
        }
        self.halve(batch);
    }

    /// This event of the batch is poison.
    pub fn condemn(&mut self, batch: Vec<Event>, event: EventId, reason: Reason, error: String) {
        self.condemned.insert(event, (reason, error));
        self.batches.push(batch);
    }

    /// The batch took longer than it may, or something is short. It is halved; a single event waits until all else is done,
    /// and the projection's own statement being `too_slow` for it for the last time condemns it. `false`: after failures
    /// only, it is Postgres that is not well.
    pub fn is_too_much(&mut self, batch: Vec<Event>, too_slow: bool, error: &str) -> bool {
        let [event] = &batch[..] else {
            self.failures += 1;
            self.halve(batch);
            return self.failures < FAILURES_IN_A_ROW;
        };
        let strikes = self.strikes.get(&event.event_id).copied().unwrap_or_default() + u32::from(too_slow);
        if strikes == STRIKES {
            let error = format!("it was too slow {STRIKES} times, alone: {error}");
            self.condemn(batch.clone(), event.event_id, Reason::WriteFailed, error);
            return true;
        }
        if strikes > 0 {
            self.strikes.insert(event.event_id, strikes);
        }
        // What is slow again is no news of Postgres.
        self.failures += u32::from(strikes < 2);
        self.stuck.insert(event.aggregate_id);
        self.aside.extend(batch);
        self.failures < FAILURES_IN_A_ROW
    }

    fn halve(&mut self, mut batch: Vec<Event>) {
        let second = batch.split_off(batch.len().div_ceil(2));
        self.batches.push(second);
        self.batches.push(batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::tests::event;

    fn versions(batch: &[Event]) -> Vec<i32> {
        batch.iter().map(|event| event.version.0).collect()
    }

    fn four() -> (Vec<Event>, Work) {
        let events: Vec<_> = (1..=4).map(|version| event(1, version)).collect();
        (events.clone(), Work::of(events))
    }

    #[test]
    fn poison_is_found_by_halving_and_condemned_when_it_is_alone() {
        let (events, mut work) = four();
        for expected in [vec![1, 2, 3, 4], vec![1, 2]] {
            let batch = work.next(100).expect("there is work");
            assert_eq!(versions(&batch), expected);
            work.is_poison(batch, Reason::WriteFailed, "no".into());
        }
        let batch = work.next(100).expect("the first half of the first half");
        work.is_poison(batch, Reason::WriteFailed, "no".into());
        assert_eq!(work.condemned().keys().collect::<Vec<_>>(), [&events[0].event_id]);
        let rest: Vec<_> = std::iter::from_fn(|| work.next(100)).map(|batch| versions(&batch)).collect();
        assert_eq!(rest, [vec![1], vec![2], vec![3, 4]]);
    }

    #[test]
    fn a_slow_event_waits_for_all_others_and_is_condemned_the_third_time() {
        let mut slow = vec![event(1, 1), event(1, 2), event(2, 1)];
        verdict::in_order(&mut slow);
        let id = slow[0].event_id;
        let mut work = Work::of(slow);
        for strike in 1..=3 {
            let batch = work.next(1).expect("there is work");
            assert_eq!(batch[0].event_id, id);
            assert!(work.condemned().is_empty());
            assert!(work.is_too_much(batch, true, "57014"));
            if strike == 1 {
                assert_eq!(work.next(1).map(|batch| batch[0].aggregate_id.0.as_u128()), Some(2), "not what follows it");
                work.went_through(Vec::new());
                assert_eq!(work.next(1).map(|batch| versions(&batch)), None);
            }
            if strike < 3 {
                work.next(1);
                assert!(work.try_again());
            }
        }
        assert!(work.condemned().contains_key(&id));
        assert_eq!(work.next(1).map(|batch| versions(&batch)), Some(vec![1]), "to be parked");
        assert_eq!(work.next(1).map(|batch| versions(&batch)), Some(vec![2]));
    }

    #[test]
    fn failures_alone_are_nobodys_fault() {
        let (_, mut work) = four();
        let mut on = true;
        let mut tried = 0;
        while on {
            let batch = work.next(100).expect("there is work");
            on = work.is_too_much(batch, false, "53200");
            tried += 1;
        }
        assert_eq!(tried, FAILURES_IN_A_ROW);
        assert!(work.condemned().is_empty());
        assert!(!work.try_again(), "nothing of it was too slow alone");
    }
}
