//! The names of things: which event, which aggregate, which place in the aggregate, which place in the store.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! newtype {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    };
}

newtype! {
    /// One event, for ever. The key of deduplication; UUIDv7 unless the caller brought its own.
    EventId(Uuid)
}

newtype! {
    /// One aggregate, whose events form one sequence of versions.
    AggregateId(Uuid)
}

newtype! {
    /// Place within an aggregate: 1, 2, 3 … without gaps. 0 means "no event yet".
    Version(i32)
}

newtype! {
    /// Place within the whole store: 1, 2, 3 … without gaps, rising in commit order. 0 means "before the first".
    #[derive(Default)]
    Position(i64)
}

impl EventId {
    /// A new id, ordered by time (UUIDv7), so that the indexes it enters grow at one end.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl Version {
    /// Before the first event of an aggregate.
    pub const NONE: Self = Self(0);

    /// The version after it.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Position {
    /// Before the first event of the store.
    pub const START: Self = Self(0);

    /// The position after it.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
