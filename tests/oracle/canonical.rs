//! JSON in one form only, so that equal is byte-equal: no spaces, sorted keys, numbers digit by digit as they came.

use std::collections::BTreeMap;

use chrono::{DateTime, Timelike, Utc};
use serde_json::value::RawValue;

/// # Panics
/// It is not JSON.
pub fn canonical(json: &str) -> String {
    let json = json.trim();
    match json.as_bytes().first() {
        Some(b'{') => {
            let entries: BTreeMap<String, &RawValue> = serde_json::from_str(json).unwrap();
            object(entries.into_iter().map(|(key, value)| (key, canonical(value.get()))))
        }
        Some(b'[') => {
            let values: Vec<&RawValue> = serde_json::from_str(json).unwrap();
            array(values.into_iter().map(|value| canonical(value.get())))
        }
        Some(b'"') => text(&serde_json::from_str::<String>(json).unwrap()),
        _ => json.to_owned(),
    }
}

/// An object of values that are canonical already.
pub fn object(entries: impl IntoIterator<Item = (String, String)>) -> String {
    let entries: Vec<String> = entries.into_iter().map(|(key, value)| format!("{}:{value}", text(&key))).collect();
    format!("{{{}}}", entries.join(","))
}

pub fn array(values: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", values.into_iter().collect::<Vec<_>>().join(","))
}

pub fn text(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

pub fn or_null(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "null".to_owned(), |value| value.to_string())
}

/// As Postgres prints a `timestamptz` in JSON under time zone UTC: microseconds, without zeros at the end.
pub fn time(time: &DateTime<Utc>) -> String {
    let fraction = format!(".{:06}", time.nanosecond() / 1000);
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    text(&format!("{}{fraction}+00:00", time.format("%Y-%m-%dT%H:%M:%S")))
}
