//! From JSON to the closed set of events that a topic carries.

use serde::de::DeserializeOwned;

use crate::field::misfit;
use crate::{Object, Payload, Topic, Upcast};

/// What a read model listens to: events of one topic or of several, in their newest shape.
///
/// `decode` is a hand-written `match` on the event type, so that the list of events can be read. A type that is not
/// in the list is `None`: it is skipped, counted and settled, because a new event must never stop an old worker.
pub trait EventSet: Sized + Send {
    /// Where the events come from; all of them in the program's catalogue. The events of an aggregate come in order, those of
    /// different topics in any.
    const TOPICS: &'static [&'static Topic];

    /// The event in its newest shape; `None` for a type that is not in the set.
    ///
    /// # Errors
    /// The type is known and the data does not fit it: poison, which only a person can resolve.
    fn decode(payload: &Payload) -> Result<Option<Self>, DecodeError>;
}

/// Why an event cannot be read: poison, which is parked with this text.
#[derive(Debug, thiserror::Error)]
#[error("{event_type} (schema {schema_version}): {reason}")]
pub struct DecodeError {
    /// The type of the event that cannot be read.
    pub event_type: String,
    /// The schema that its data says it has.
    pub schema_version: u32,
    /// What did not fit, without the values: the field, if the code names it, and what was expected, as serde says it.
    pub reason: String,
}

/// Reads a payload's data as `T`, the one shape that the event has ever had. Unknown fields are ignored.
///
/// # Errors
/// The data does not fit, or is of a newer schema: what it means then, only newer code knows.
pub fn payload<T: DeserializeOwned>(payload: &Payload) -> Result<T, DecodeError> {
    payload_of(payload, 1)
}

/// As [`payload`], for an event whose newest schema is not the first.
///
/// # Errors
/// Those of [`payload`].
pub fn payload_of<T: DeserializeOwned>(payload: &Payload, newest: u32) -> Result<T, DecodeError> {
    not_newer(payload, newest)?;
    read(payload, payload.event_data.get())
}

/// As [`payload`], for an event of an older schema: its JSON goes through the steps of `upcast` first.
///
/// # Errors
/// Those of [`payload`].
pub fn upcasted<T: DeserializeOwned>(payload: &Payload, upcast: &Upcast) -> Result<T, DecodeError> {
    not_newer(payload, upcast.newest())?;
    let data: Object = serde_json::from_str(payload.event_data.get()).map_err(|error| wrong(payload, &error))?;
    let data = upcast.apply(data, payload.metadata.schema_version());
    let data = serde_json::to_string(&data).expect("JSON that was read as JSON");
    read(payload, &data)
}

fn read<T: DeserializeOwned>(payload: &Payload, data: &str) -> Result<T, DecodeError> {
    serde_json::from_str(data).map_err(|error| {
        let mut wrong = wrong(payload, &error);
        if let Some(field) = misfit::<T>(data) {
            wrong.reason.insert_str(0, &format!("{field}: "));
        }
        wrong
    })
}

/// A new schema is there because the meaning has changed. To read it as what it was would be wrong without a word.
fn not_newer(payload: &Payload, newest: u32) -> Result<(), DecodeError> {
    let schema_version = payload.metadata.schema_version();
    if schema_version <= newest {
        return Ok(());
    }
    Err(DecodeError {
        event_type: payload.event_type.clone(),
        schema_version,
        reason: format!("this code knows schema {newest} at most; run newer code, then retry"),
    })
}

fn wrong(payload: &Payload, error: &serde_json::Error) -> DecodeError {
    DecodeError {
        event_type: payload.event_type.clone(),
        schema_version: payload.metadata.schema_version(),
        reason: without_values(&error.to_string()),
    }
}

/// Serde quotes the offending value (`invalid type: string "secret", expected i32`); errors reach logs and tables,
/// where payloads have no business.
pub(crate) fn without_values(message: &str) -> String {
    if message.starts_with("missing field") || message.starts_with("duplicate field") {
        return message.to_owned();
    }
    for kind in ["invalid type", "invalid value", "invalid length", "unknown variant"] {
        // The last one, because the value before it may say anything.
        if message.starts_with(kind)
            && let Some((_, expected)) = message.rsplit_once(", expected ")
        {
            return format!("{kind}, expected {expected}");
        }
    }
    match message.split_once(['`', '"']) {
        Some((said, _)) => format!("{said}…"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_newer_than_the_code_is_an_error_that_says_so() {
        use crate::orders::{OrderEvent, stored};
        let data = r#"{"note":null,"amount":1}"#;
        for (event_type, newest) in [("OrderPlaced", 2), ("OrderMade", 2), ("OrderPaid", 1)] {
            assert!(OrderEvent::decode(&stored(event_type, newest, data)).is_ok(), "{event_type}");
            let error = OrderEvent::decode(&stored(event_type, 99, data)).expect_err(event_type).to_string();
            assert!(error.contains("schema 99") && error.contains("run newer code"), "{error}");
        }
        assert!(OrderEvent::decode(&stored("OrderTeleported", 99, data)).is_ok_and(|event| event.is_none()));
    }

    #[test]
    fn an_error_says_what_is_wrong_but_not_the_value() {
        for (message, said) in [
            (
                r#"invalid type: string "ada, expected x", expected i32 at line 1 column 9"#,
                "invalid type, expected i32 at line 1 column 9",
            ),
            (
                "invalid value: integer `42`, expected u8 at line 1 column 9",
                "invalid value, expected u8 at line 1 column 9",
            ),
            (
                "unknown variant `a `secret``, expected `b` or `c` at line 1 column 4",
                "unknown variant, expected `b` or `c` at line 1 column 4",
            ),
            ("missing field `user_id` at line 1 column 2", "missing field `user_id` at line 1 column 2"),
            ("UUID parsing failed: found `s` at 1", "UUID parsing failed: found …"),
            ("expected value at line 1 column 1", "expected value at line 1 column 1"),
        ] {
            assert_eq!(without_values(message), said);
        }
    }
}
