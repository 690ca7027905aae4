//! What is said about an event besides the event itself.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Object, is_traceparent};

/// The `metadata` object of an event. Unknown keys are kept, as they were written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metadata(pub Object);

impl Metadata {
    /// The W3C `traceparent` of the call that appended the event, kept here so that one trace spans the whole way.
    pub const TRACEPARENT: &str = "traceparent";

    const SCHEMA_VERSION: &str = "schema_version";

    /// The version of the event's data; absent or unreadable means 1.
    pub fn schema_version(&self) -> u32 {
        self.0.get(Self::SCHEMA_VERSION).and_then(|version| version.read()).unwrap_or(1)
    }

    /// The trace, if what is said is one. Whoever appends may have written anything there.
    pub fn traceparent(&self) -> Option<String> {
        let said: Option<String> = self.0.get(Self::TRACEPARENT).and_then(|traceparent| traceparent.read());
        said.filter(|said| is_traceparent(said))
    }
}

/// As a JSON object.
impl fmt::Display for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl<const N: usize> From<[(&str, Value); N]> for Metadata {
    fn from(entries: [(&str, Value); N]) -> Self {
        Self(entries.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect())
    }
}
