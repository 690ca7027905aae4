//! How many events a transaction of a builder takes: as many as take half a second. Pure.

use std::time::Duration;

/// What a transaction should take. Shorter ones cost more for each event, longer ones keep locks and lose more in a kill.
const TARGET: Duration = Duration::from_millis(500);

/// A transaction that took so much longer says that something has changed.
const FAR_TOO_LONG: u32 = 5;

/// Events of the first one.
const FIRST: usize = 2000;

/// The most events of one.
const MOST: usize = 50_000;

/// The size of the next transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(usize);

impl Default for Size {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Size {
    pub fn events(self) -> usize {
        self.0
    }

    /// So many took so long. It grows by half at most, shrinks at once, and is cut to a tenth when it was far too long.
    #[must_use]
    pub fn after(self, events: usize, took: Duration) -> Self {
        let took = took.max(Duration::from_millis(1));
        if took > TARGET * FAR_TOO_LONG {
            return Self((events / 10).max(1));
        }
        let fitting = events as f64 * TARGET.as_secs_f64() / took.as_secs_f64();
        if took > TARGET {
            return Self((fitting as usize).max(1));
        }
        // A chunk that is smaller because there is no more says nothing about larger ones.
        if events < self.0 {
            return self;
        }
        Self((fitting as usize).min(self.0 + self.0.div_ceil(2)).clamp(1, MOST))
    }

    /// So many did not go through.
    #[must_use]
    pub fn halved(self, events: usize) -> Self {
        Self((events.min(self.0) / 2).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_by_half_and_shrinks_at_once() {
        let size = Size(1000);
        let after = |events, milliseconds| size.after(events, Duration::from_millis(milliseconds)).events();
        assert_eq!(after(1000, 10), 1500);
        assert_eq!(after(1000, 400), 1250);
        assert_eq!(after(1000, 1000), 500);
        assert_eq!(after(1000, 3000), 100);
        assert_eq!(after(10, 1), 1000, "a small chunk says nothing");
        assert_eq!(after(1, 60_000), 1);
        assert_eq!(size.halved(1000).events(), 500);
        assert_eq!(size.halved(1).events(), 1);
        assert_eq!(Size(MOST).after(MOST, Duration::from_millis(1)).events(), MOST);
    }
}
