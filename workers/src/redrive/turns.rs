//! Whose turn it is. Pure.
//!
//! Operations take turns, and one that must rest for its rate takes none: however slow one is, the others do not wait for
//! it. Of those that may go on, the one that has waited longest is next.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use uuid::Uuid;

#[derive(Debug, Default)]
pub(super) struct Turns {
    known: BTreeMap<Uuid, Turn>,
    given: u64,
}

#[derive(Debug)]
struct Turn {
    due: Instant,
    /// The number of its last turn.
    last: u64,
    busy: bool,
    /// In a row.
    failures: u32,
}

impl Turns {
    /// These have something to do; the others are done with.
    pub fn open(&mut self, operations: &[Uuid], now: Instant) {
        self.known.retain(|id, turn| turn.busy || operations.contains(id));
        for id in operations {
            self.known.entry(*id).or_insert(Turn { due: now, last: 0, busy: false, failures: 0 });
        }
    }

    pub fn next(&mut self, now: Instant) -> Option<Uuid> {
        let waiting = self.known.iter_mut().filter(|(_, turn)| !turn.busy && turn.due <= now);
        let (id, turn) = waiting.min_by_key(|(_, turn)| turn.last)?;
        self.given += 1;
        turn.last = self.given;
        turn.busy = true;
        Some(*id)
    }

    pub fn busy(&self) -> usize {
        self.known.values().filter(|turn| turn.busy).count()
    }

    /// Its next turn is due then.
    pub fn took(&mut self, id: Uuid, due: Instant) {
        if let Some(turn) = self.known.get_mut(&id) {
            *turn = Turn { due, last: turn.last, busy: false, failures: 0 };
        }
    }

    /// Returns how often it has failed in a row.
    pub fn failed(&mut self, id: Uuid, due: impl FnOnce(u32) -> Instant) -> u32 {
        let Some(turn) = self.known.get_mut(&id) else { return 0 };
        turn.due = due(turn.failures);
        turn.busy = false;
        turn.failures += 1;
        turn.failures
    }

    /// How long nobody's turn comes, at most `most`.
    pub fn rest(&self, now: Instant, most: Duration) -> Duration {
        let waits = self.known.values().filter(|turn| !turn.busy).map(|turn| turn.due.saturating_duration_since(now));
        waits.min().unwrap_or(most).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_rests_is_waited_for_by_nobody_and_the_others_take_turns() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let [slow, one, other] = [1, 2, 3].map(Uuid::from_u128);
        let mut turns = Turns::default();
        turns.open(&[slow, one, other], start);
        assert_eq!(turns.next(start), Some(slow));
        turns.took(slow, after(1000));
        for _ in 0..3 {
            for id in [one, other] {
                assert_eq!(turns.next(after(1)), Some(id));
                turns.took(id, after(1));
            }
        }
        assert_eq!(turns.next(after(1000)), Some(slow), "it has waited longest");
        assert_eq!((turns.busy(), turns.next(after(1000))), (1, Some(one)));
    }

    #[test]
    fn who_is_busy_has_one_turn_and_who_is_done_has_none() {
        let now = Instant::now();
        let [one, other] = [1, 2].map(Uuid::from_u128);
        let mut turns = Turns::default();
        turns.open(&[one, other], now);
        assert_eq!((turns.next(now), turns.next(now), turns.next(now)), (Some(one), Some(other), None));
        turns.open(&[], now);
        assert_eq!(turns.busy(), 2, "they are told to be done when their turn is over");
        turns.took(one, now);
        turns.failed(other, |_| now);
        turns.open(&[other], now);
        assert_eq!((turns.next(now), turns.next(now)), (Some(other), None));
    }
}
