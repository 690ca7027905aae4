//! When this process saw the store reach which position. Pure.
//!
//! The age of an event is the database's time less the time at which it was recorded. If that clock has gone back since, the
//! event would be no second old for as long as it went back; it is as old, at least, as it has been seen to be there.

use std::collections::VecDeque;
use std::time::Instant;

/// What is remembered at most. Of more, every second is forgotten, which makes ages a little less than they are.
const MOST: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Sightings {
    /// Rising in both.
    heads: VecDeque<(i64, Instant)>,
}

impl Sightings {
    /// The store reaches `head`, and nobody asks about what is at `settled` or before it.
    pub fn see(&mut self, settled: i64, head: i64, now: Instant) {
        // A store that has lost its tail gives its positions anew.
        self.heads.retain(|(seen, _)| *seen > settled && *seen <= head);
        if self.heads.back().is_none_or(|(seen, _)| *seen < head) {
            self.heads.push_back((head, now));
        }
        if self.heads.len() > MOST {
            let mut place = 0;
            self.heads.retain(|_| {
                place += 1;
                place % 2 == 1
            });
        }
    }

    /// For how many seconds the event at this position has been there, at least.
    pub fn age(&self, position: i64, now: Instant) -> f64 {
        let first = self.heads.iter().find(|(head, _)| *head >= position);
        first.map_or(0.0, |(_, at)| now.duration_since(*at).as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_event_is_as_old_as_it_has_been_seen_to_be_there() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut sightings = Sightings::default();
        sightings.see(0, 5, at(0));
        sightings.see(0, 5, at(10));
        sightings.see(0, 9, at(20));
        let ages = |sightings: &Sightings, now| [5, 6, 9, 10].map(|position| sightings.age(position, now));
        assert_eq!(ages(&sightings, at(30)), [30.0, 10.0, 10.0, 0.0]);
        sightings.see(5, 9, at(40));
        assert_eq!(ages(&sightings, at(40)), [20.0, 20.0, 20.0, 0.0], "what is settled is forgotten");
        sightings.see(5, 7, at(50));
        assert_eq!(ages(&sightings, at(60)), [10.0, 10.0, 0.0, 0.0], "the tail was lost");
    }

    #[test]
    fn a_long_backlog_is_remembered_in_little_and_its_oldest_event_to_the_second() {
        let start = Instant::now();
        let mut sightings = Sightings::default();
        for second in 0..10_000 {
            sightings.see(0, second + 1, start + Duration::from_secs(second as u64));
            assert!(sightings.heads.len() <= MOST);
        }
        assert_eq!(sightings.age(1, start + Duration::from_secs(10_000)), 10_000.0);
    }
}
