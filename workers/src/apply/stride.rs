//! How many events a transaction takes: as many as there are, until that is too much for Postgres, and then half of it,
//! until it goes through; then gradually more again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The most events of a transaction.
const MOST: usize = 5000;

/// Shared by all who apply to a projection. It is a guess and no promise, so that races for it do no harm.
#[derive(Debug, Clone)]
pub struct Stride(Arc<AtomicUsize>);

impl Default for Stride {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(MOST)))
    }
}

impl Stride {
    /// At least 1.
    pub fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// So many were too much.
    pub fn shorten(&self, tried: usize) {
        self.0.store((tried.min(self.now()) / 2).max(1), Ordering::Relaxed);
    }

    /// So many went through.
    pub fn lengthen(&self, tried: usize) {
        let now = self.now();
        // A smaller batch says nothing about larger ones.
        if now < MOST && tried >= now {
            self.0.store((now * 2).min(MOST), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_halved_by_failures_down_to_one_event_and_doubled_by_successes() {
        let stride = Stride::default();
        stride.shorten(1000);
        assert_eq!(stride.now(), 500);
        stride.lengthen(499);
        assert_eq!(stride.now(), 500);
        stride.lengthen(500);
        assert_eq!(stride.now(), 1000);
        for _ in 0..20 {
            stride.shorten(usize::MAX);
        }
        assert_eq!(stride.now(), 1);
        for _ in 0..20 {
            stride.lengthen(MOST);
        }
        assert_eq!(stride.now(), MOST);
    }
}
