//! A bus that misbehaves, by seed: whatever goes through it is repeated, reordered, lost.
//!
//! Wraps any [`Publisher`] or [`Subscription`]. The same seed and the same calls give the same faults; [`Faults`] counts
//! them, so that a test can tell that it tested something.

mod publisher;
mod subscription;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use publisher::ChaosPublisher;
pub use subscription::ChaosSubscription;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::{Publisher, Subscription};

/// The faults to inject. [`Chaos::new`] injects none.
#[derive(Debug, Clone)]
pub struct Chaos {
    /// Print it, and a failure can be had again.
    pub seed: u64,
    /// How many more times each message comes, next to the once that it should.
    pub duplicate: u32,
    /// By how many messages one may be overtaken, approximately; 0 keeps the order. A publisher shuffles within its page.
    pub shuffle: usize,
    /// The probability, 0 to 1, that a message is lost: dropped after the publish was confirmed, or acknowledged without being delivered.
    pub lose: f64,
    /// The probability that an ack does not reach the bus, so that the message comes again. Subscriptions only.
    pub lose_acks: f64,
    /// The faults injected so far, in everything that this and its clones wrapped.
    pub faults: Arc<Faults>,
}

/// The faults injected, in messages.
#[derive(Debug, Default)]
pub struct Faults {
    duplicated: AtomicU64,
    shuffled: AtomicU64,
    lost: AtomicU64,
    acks_lost: AtomicU64,
}

impl Chaos {
    pub fn new(seed: u64) -> Self {
        Self { seed, duplicate: 0, shuffle: 0, lose: 0.0, lose_acks: 0.0, faults: Arc::default() }
    }

    pub fn publisher<P: Publisher>(&self, inner: P) -> ChaosPublisher<P> {
        ChaosPublisher::new(self.clone(), inner)
    }

    pub fn subscription<S: Subscription>(&self, inner: S) -> ChaosSubscription<S> {
        ChaosSubscription::new(self.clone(), inner)
    }

    fn rng(&self) -> StdRng {
        StdRng::seed_from_u64(self.seed)
    }

    /// How often a message comes: not at all if it is lost.
    fn copies(&self, rng: &mut StdRng) -> u32 {
        if rng.random_bool(self.lose) {
            count(&self.faults.lost, 1);
            return 0;
        }
        count(&self.faults.duplicated, self.duplicate.into());
        1 + self.duplicate
    }
}

impl Faults {
    /// Copies that were added.
    pub fn duplicated(&self) -> u64 {
        self.duplicated.load(Ordering::Relaxed)
    }

    /// Copies that did not come in their turn.
    pub fn shuffled(&self) -> u64 {
        self.shuffled.load(Ordering::Relaxed)
    }

    /// Messages that never arrive.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub fn acks_lost(&self) -> u64 {
        self.acks_lost.load(Ordering::Relaxed)
    }
}

fn count(fault: &AtomicU64, times: u64) {
    fault.fetch_add(times, Ordering::Relaxed);
}
