//! What is said about an event besides the event itself.

use std::fmt;

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::{Object, TraceContext};

/// The `metadata` object of an event, as it was written: few who read an event look into it, so that it is carried as text.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Metadata(Box<RawValue>);

impl Metadata {
    /// The W3C `traceparent` of the call that appended the event, kept here so that one trace spans the whole way.
    pub const TRACEPARENT: &str = "traceparent";

    const SCHEMA_VERSION: &str = "schema_version";

    /// The version of the event's data; absent or unreadable means 1.
    pub fn schema_version(&self) -> u32 {
        self.read(Self::SCHEMA_VERSION).unwrap_or(1)
    }

    /// The trace that it belongs to, if what is said is one. Whoever appends may have written anything there.
    pub fn trace(&self) -> Option<TraceContext> {
        // As Postgres prints what the store writes where nothing else is said.
        let alone = self.0.get().strip_prefix(r#"{"traceparent": ""#).and_then(|rest| rest.strip_suffix("\"}"));
        if let Some(trace) = alone.and_then(TraceContext::parse) {
            return Some(trace);
        }
        TraceContext::parse(&self.read::<String>(Self::TRACEPARENT)?)
    }

    /// What is said under a key, as a `T`; `None` if nothing is, or no `T`.
    pub fn read<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let text = self.0.get();
        // A key may be written with escapes.
        if !text.contains(key) && !text.contains('\\') {
            return None;
        }
        // Not every object has keys that are text: an escape may be half of a character.
        serde_json::from_str::<Object>(text).ok()?.get(key)?.read()
    }
}

impl Default for Metadata {
    fn default() -> Self {
        Self::from([])
    }
}

/// As text: the store has one way to write a value.
impl PartialEq for Metadata {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        if text.get().starts_with('{') { Ok(Self(text)) } else { Err(D::Error::custom("metadata must be an object")) }
    }
}

/// As a JSON object.
impl fmt::Display for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get())
    }
}

impl<const N: usize> From<[(&str, Value); N]> for Metadata {
    fn from(entries: [(&str, Value); N]) -> Self {
        let object: serde_json::Map<_, _> = entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Self(serde_json::value::to_raw_value(&object).expect("values are JSON"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_carried_as_it_was_written_and_read_by_its_keys() {
        let text = r#"{"n": 1.10, "schema_version": 3, "who": {"schema_version": 9}}"#;
        let metadata: Metadata = serde_json::from_str(text).expect("an object");
        assert_eq!(serde_json::to_string(&metadata).expect("JSON"), text);
        assert_eq!((metadata.schema_version(), metadata.trace()), (3, None));
        for (text, version) in [
            ("{}", 1),
            (r#"{"who": "schema_version"}"#, 1),
            (r#"{"schema_version": "three"}"#, 1),
            (r#"{"schema\u005fversion": 2}"#, 2),
            (r#"{"schema_version": 2, "schema_version": 4}"#, 4),
            (r#"{"\ud800": 0, "schema_version": 4}"#, 1),
        ] {
            assert_eq!(serde_json::from_str::<Metadata>(text).expect("an object").schema_version(), version, "{text}");
        }
    }

    #[test]
    fn nothing_but_an_object_is_metadata() {
        for text in ["[]", "7", "null", r#""{}""#] {
            assert!(serde_json::from_str::<Metadata>(text).is_err(), "{text}");
        }
    }
}
