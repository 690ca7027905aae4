//! What is known of the aggregates written to lately, so that a batch need not ask for them.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use events::{AggregateId, Version};
use lru::LruCache;

/// An aggregate that has events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AggregateHead {
    pub version: Version,
    /// Of its last event, and so of the next one.
    pub aggregate_type: Arc<str>,
}

/// Exact as long as the head row's epoch is ours: nobody else has appended since. Whoever loses the epoch forgets it.
pub(super) struct Heads(LruCache<AggregateId, AggregateHead>);

impl Heads {
    pub fn new(capacity: NonZeroUsize) -> Self {
        Self(LruCache::new(capacity))
    }

    /// Splits the aggregates into those known here and those to ask the store for.
    pub fn known(
        &mut self,
        aggregates: impl Iterator<Item = AggregateId>,
    ) -> (HashMap<AggregateId, AggregateHead>, Vec<AggregateId>) {
        let mut known = HashMap::new();
        let mut unknown = Vec::new();
        for aggregate in aggregates {
            match self.0.get(&aggregate) {
                Some(head) => {
                    known.insert(aggregate, head.clone());
                }
                None => unknown.push(aggregate),
            }
        }
        unknown.sort_unstable();
        unknown.dedup();
        (known, unknown)
    }

    pub fn learn(&mut self, aggregate: AggregateId, head: AggregateHead) {
        self.0.put(aggregate, head);
    }

    pub fn forget_all(&mut self) {
        self.0.clear();
    }
}
