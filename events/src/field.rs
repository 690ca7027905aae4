//! Which field of an event's data does not fit.

use serde::de::value::Error;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;
use serde_path_to_error::Segment;

/// The field at the top of `json` that keeps it from being a `T`, if it is one that the code of `T` names: any other name in JSON is
/// data of somebody, which errors do not repeat.
pub(crate) fn misfit<T: DeserializeOwned>(json: &str) -> Option<&'static str> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let error = serde_path_to_error::deserialize::<_, T>(&mut reader).err()?;
    let Some(Segment::Map { key }) = error.path().iter().next() else { return None };
    fields::<T>().iter().find(|field| *field == key).copied()
}

/// The names of the fields of a struct; none of what is none.
fn fields<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut fields: &'static [&'static str] = &[];
    // It ends in an error, because there is no data.
    let _ = T::deserialize(Asked(&mut fields));
    fields
}

/// Has no data, and remembers for which fields it was asked.
struct Asked<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Asked<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("there is no data"))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple
        tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "it is only read")]
    struct Placed {
        amount: i64,
        #[serde(default)]
        lines: Vec<BTreeMap<String, i64>>,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "it is only read")]
    struct Wrapped(Placed);

    #[test]
    fn a_field_is_named_and_what_somebody_has_written_is_not() {
        let wrong = r#"{"amount": "secret"}"#;
        assert_eq!(misfit::<Placed>(wrong), Some("amount"));
        assert_eq!(misfit::<Wrapped>(wrong), Some("amount"));
        assert_eq!(misfit::<Placed>(r#"{"amount": 1, "lines": [{"secret": "x"}]}"#), Some("lines"));
        assert_eq!(misfit::<BTreeMap<String, i64>>(r#"{"secret": "x"}"#), None);
        assert_eq!(misfit::<Placed>("{}"), None, "that it is missing the error says itself");
        assert_eq!(misfit::<Placed>(r#"{"amount": 1}"#), None);
    }
}
