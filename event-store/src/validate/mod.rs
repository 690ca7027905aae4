//! What a caller may say. Everything that Postgres or the bus would refuse later is refused here, with the field's
//! name, before anything is queued: one caller's data must not fail its neighbours' batch.

pub mod printed;

use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use uuid::Uuid;

/// The most events one append may bring.
pub const MAX_EVENTS: usize = 1000;
/// The most bytes of `event_data` and `metadata` of one event, as they are sent and as they are read again, so that its
/// message stays below Pub/Sub's 10 MB.
pub const MAX_EVENT_BYTES: usize = 9_000_000;
/// The most bytes of one append.
pub const MAX_REQUEST_BYTES: usize = 32 << 20;
/// The most levels of objects and arrays: as far as serde_json, which also reads the events again, goes down.
pub const MAX_DEPTH: usize = 127;
/// The most characters of `aggregate_type` and `event_type`.
pub const MAX_NAME: usize = 100;
/// The most characters of `idempotency_key`.
pub const MAX_KEY: usize = 200;

/// A field and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub field: String,
    pub problem: String,
}

/// Collects violations, so that a caller hears of all of them at once.
#[derive(Debug, Default)]
pub struct Violations(pub Vec<Violation>);

impl Violations {
    pub fn add(&mut self, field: impl Into<String>, problem: impl fmt::Display) {
        self.0.push(Violation { field: field.into(), problem: problem.to_string() });
    }

    /// The value, or a violation of `field`.
    pub fn check<T>(&mut self, field: impl Into<String>, result: Result<T, impl fmt::Display>) -> Option<T> {
        result.map_err(|problem| self.add(field, problem)).ok()
    }
}

pub fn uuid(text: &str) -> Result<Uuid, String> {
    Uuid::try_parse(text).map_err(|_| format!("{:?} is not a UUID", shortened(text)))
}

pub fn name(text: &str) -> Result<String, String> {
    printable(text)?;
    match text.chars().count() {
        1..=MAX_NAME => Ok(text.to_owned()),
        count => Err(format!("must have 1 to {MAX_NAME} characters, has {count}")),
    }
}

/// An empty key is no key.
pub fn idempotency_key(text: &str) -> Result<Option<String>, String> {
    printable(text)?;
    match text.chars().count() {
        0 => Ok(None),
        1..=MAX_KEY => Ok(Some(text.to_owned())),
        count => Err(format!("must have at most {MAX_KEY} characters, has {count}")),
    }
}

/// A time between the years 1900 and 2200: outside of them somebody has mixed up units.
pub fn occurred_at(seconds: i64, nanos: i32) -> Result<DateTime<Utc>, String> {
    const EARLIEST: i64 = -2_208_988_800;
    const LATEST: i64 = 7_258_118_400;
    let absurd = || "must be between the years 1900 and 2200; is it in milliseconds?".to_owned();
    if !(EARLIEST..LATEST).contains(&seconds) {
        return Err(absurd());
    }
    // More than a second's worth is how chrono says "leap second", which Postgres does not know.
    let nanos = u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let nanos =
        nanos.ok_or_else(|| "nanos must be from 0 to 999,999,999; there are no leap seconds here".to_owned())?;
    DateTime::from_timestamp(seconds, nanos).ok_or_else(absurd)
}

/// The text is a JSON object that jsonb takes and that can be read again; the most bytes that it then has.
pub fn json_object(text: &str) -> Result<usize, String> {
    if text.starts_with('\u{feff}') {
        return Err("begins with a byte order mark (U+FEFF): send it without".to_owned());
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let kind = Checked.deserialize(&mut deserializer).and_then(|kind| deserializer.end().map(|()| kind));
    match kind {
        Ok(Kind::Object) => printed::bytes(text).map_err(|long| long.to_string()),
        Ok(Kind::Other) => Err("must be a JSON object".to_owned()),
        Err(error) if error.to_string().starts_with("recursion limit") => {
            Err(format!("is more than {MAX_DEPTH} levels deep"))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Readers take the version of an event's data from its metadata, and what is no version for 1, of which they would make something else.
/// `metadata` is a JSON object.
pub fn schema_version(metadata: &str) -> Result<(), String> {
    #[derive(serde::Deserialize)]
    struct Said {
        schema_version: Option<serde_json::Value>,
    }
    if !metadata.contains("schema_version") {
        return Ok(());
    }
    // What is said twice is read as it was said last, which is not worth a refusal.
    let Ok(Said { schema_version: Some(version) }) = serde_json::from_str(metadata) else { return Ok(()) };
    match version.as_u64() {
        Some(1..=0xffff_ffff) => Ok(()),
        _ => Err(format!("schema_version must be a whole number from 1, and is {}", shortened(&version.to_string()))),
    }
}

fn printable(text: &str) -> Result<(), String> {
    if text.contains('\0') { Err("must not contain NUL".to_owned()) } else { Ok(()) }
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

#[derive(PartialEq)]
enum Kind {
    Object,
    Other,
}

/// Walks through a JSON text without keeping it.
struct Checked;

impl<'de> DeserializeSeed<'de> for Checked {
    type Value = Kind;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Kind, E> {
        Ok(Kind::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Kind, E> {
        Ok(Kind::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Kind, E> {
        Ok(Kind::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Kind, E> {
        Ok(Kind::Other)
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Other)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Kind, E> {
        if text.contains('\0') {
            return Err(E::custom("contains NUL (\\u0000), which jsonb refuses"));
        }
        Ok(Kind::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Kind, A::Error> {
        while items.next_element_seed(Self)?.is_some() {}
        Ok(Kind::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Kind, A::Error> {
        while entries.next_key_seed(Self)?.is_some() {
            entries.next_value_seed(Self)?;
        }
        Ok(Kind::Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_jsonb_refuses_is_refused() {
        for (text, problem) in [
            (r#"{"a":"\u0000"}"#, "NUL"),
            (r#"{"\u0000":1}"#, "NUL"),
            (r#"{"a":"\ud800"}"#, "hex escape"),
            (r#"{"a":1e400}"#, "number out of range"),
            ("[]", "must be a JSON object"),
            ("3", "must be a JSON object"),
            ("null", "must be a JSON object"),
            ("", "EOF"),
            ("\u{feff}{}", "byte order mark"),
            (r#"{"a":[1e-16384]}"#, "the number at a[0] has 16386 characters"),
            (r#"{"a":1} x"#, "trailing"),
            (r#"{"a":1"#, "EOF"),
        ] {
            let error = json_object(text).expect_err(text);
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn depth_is_limited_to_what_readers_can_read() {
        let nested =
            |levels: usize| format!("{}{}", r#"{"a":"#.repeat(levels), format_args!("1{}", "}".repeat(levels)));
        let deepest = nested(MAX_DEPTH);
        json_object(&deepest).expect("deep, but not too deep");
        serde_json::from_str::<serde_json::Value>(&deepest).expect("readable again");
        let error = json_object(&nested(MAX_DEPTH + 1)).expect_err("too deep");
        assert!(error.contains("127 levels"), "{error}");
        json_object(&nested(100_000)).expect_err("much too deep, and no stack overflow");
    }

    #[test]
    fn ordinary_objects_pass() {
        json_object(
            r#"{"a":[1,2.5,"\ud83d\ude00",null,true,{"b":{}}],"a":"again","big":123456789012345678901234567890}"#,
        )
        .expect("JSON that jsonb takes");
    }

    #[test]
    fn milliseconds_are_taken_for_what_they_are() {
        occurred_at(1_767_594_872, 379_000_000).expect("a time in 2026");
        assert!(occurred_at(1_767_594_872_379, 0).expect_err("milliseconds").contains("milliseconds"));
        occurred_at(0, -1).expect_err("negative nanos");
        occurred_at(0, 2_000_000_000).expect_err("nanos over a second");
        occurred_at(1_483_228_799, 1_500_000_000).expect_err("nanos over the last second of a minute");
        occurred_at(1_483_228_799, 999_999_999).expect("the last nanosecond of a minute");
    }
}
