//! What is said about an event besides the event itself.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The `metadata` object of an event. Unknown keys are kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metadata(pub Map<String, Value>);

impl Metadata {
    /// The W3C `traceparent` of the call that appended the event, kept here so that one trace spans the whole way.
    pub const TRACEPARENT: &str = "traceparent";

    const SCHEMA_VERSION: &str = "schema_version";

    /// The version of the event's data; absent or unreadable means 1.
    pub fn schema_version(&self) -> u32 {
        self.0
            .get(Self::SCHEMA_VERSION)
            .and_then(Value::as_u64)
            .and_then(|version| u32::try_from(version).ok())
            .unwrap_or(1)
    }

    pub fn traceparent(&self) -> Option<&str> {
        self.0.get(Self::TRACEPARENT).and_then(Value::as_str)
    }
}

impl<const N: usize> From<[(&str, Value); N]> for Metadata {
    fn from(entries: [(&str, Value); N]) -> Self {
        Self(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }
}
