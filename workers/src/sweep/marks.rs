//! When the store was seen to reach which position, by the process's own clock, which never goes back. Pure.
//!
//! An event's age is the database's clock less the time at which it was recorded. Where that clock has gone back, an event
//! of the future would be young for as long as it went back; what was seen long enough ago is old all the same.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use events::Position;

/// Marks within the grace. More would only make it more exact.
const WITHIN: u32 = 8;

#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Rising in both. At most one of them is older than the grace.
    seen: VecDeque<(Position, Instant)>,
}

impl Marks {
    /// The store has been seen to reach `head`. Returns up to where it had been seen the whole grace ago.
    pub fn see(&mut self, head: Position, now: Instant, grace: Duration) -> Position {
        // A store that has lost its tail gives its positions anew.
        self.seen.retain(|(position, _)| *position <= head);
        let is_old = |at: &Instant| now.duration_since(*at) >= grace;
        let apart =
            self.seen.back().is_none_or(|(position, at)| *position < head && now.duration_since(*at) >= grace / WITHIN);
        if apart {
            self.seen.push_back((head, now));
        }
        while self.seen.get(1).is_some_and(|(_, at)| is_old(at)) {
            self.seen.pop_front();
        }
        self.seen.front().filter(|(_, at)| is_old(at)).map_or(Position::START, |(position, _)| *position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(8);

    #[test]
    fn what_was_seen_the_grace_ago_is_old_whatever_the_database_thinks_of_the_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut marks = Marks::default();
        assert_eq!(marks.see(Position(5), at(0), GRACE), Position::START);
        assert_eq!(marks.see(Position(9), at(3), GRACE), Position::START);
        assert_eq!(marks.see(Position(9), at(8), GRACE), Position(5));
        assert_eq!(marks.see(Position(9), at(11), GRACE), Position(9));
        assert_eq!(marks.see(Position(20), at(18), GRACE), Position(9));
        assert_eq!(marks.see(Position(20), at(26), GRACE), Position(20));
    }

    #[test]
    fn a_store_that_grows_all_the_time_needs_few_marks_and_nothing_stays_young() {
        let start = Instant::now();
        let mut marks = Marks::default();
        for tick in 0..10_000_u32 {
            let old = marks.see(Position(tick.into()), start + tick * GRACE / 1000, GRACE);
            assert!(marks.seen.len() <= WITHIN as usize + 2, "{}", marks.seen.len());
            // An eighth of the grace later at most, and as long again for the mark behind it.
            assert!(old.0 >= i64::from(tick) - 1000 * 10 / 8, "{} at {tick}", old.0);
            assert!(old.0 <= (i64::from(tick) - 1000).max(0));
        }
    }

    #[test]
    fn without_grace_everything_is_old_and_a_lost_tail_is_forgotten() {
        let now = Instant::now();
        let mut marks = Marks::default();
        assert_eq!(marks.see(Position(7), now, Duration::ZERO), Position(7));
        assert_eq!(marks.see(Position(3), now + GRACE, GRACE), Position::START);
    }
}
