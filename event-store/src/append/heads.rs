//! The versions of the aggregates written to lately, so that a batch need not ask for them.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use events::{AggregateId, Version};
use lru::LruCache;

/// Exact as long as the head row's epoch is ours: nobody else has appended since. Whoever loses the epoch forgets it.
pub(super) struct Heads(LruCache<AggregateId, Version>);

impl Heads {
    pub fn new(capacity: NonZeroUsize) -> Self {
        Self(LruCache::new(capacity))
    }

    /// Splits the aggregates into those known here and those to ask the store for.
    pub fn known(
        &mut self,
        aggregates: impl Iterator<Item = AggregateId>,
    ) -> (HashMap<AggregateId, Version>, Vec<AggregateId>) {
        let mut known = HashMap::new();
        let mut unknown = Vec::new();
        for aggregate in aggregates {
            match self.0.get(&aggregate) {
                Some(version) => {
                    known.insert(aggregate, *version);
                }
                None => unknown.push(aggregate),
            }
        }
        unknown.sort_unstable();
        unknown.dedup();
        (known, unknown)
    }

    pub fn learn(&mut self, aggregate: AggregateId, version: Version) {
        self.0.put(aggregate, version);
    }

    pub fn forget_all(&mut self) {
        self.0.clear();
    }
}
