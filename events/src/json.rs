//! JSON that is carried and not looked into.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// Any JSON as it was written: `1.10` stays `1.10`, and a number of thirty digits keeps all of them, which
/// [`Value`] does not.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

/// An object whose values are not looked into: metadata, and data as an upcast sees it.
pub type Object = BTreeMap<String, Json>;

impl Json {
    /// The value as a `T`; `None` if it is none.
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.0.get()).ok()
    }

    pub fn is_null(&self) -> bool {
        self.0.get() == "null"
    }
}

/// As text: the store has one way to write a value.
impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        Self(serde_json::value::to_raw_value(&value).expect("a value is JSON"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::VocabularyEvent;
    use crate::{EventSet, Metadata, Payload};

    #[test]
    fn a_value_keeps_all_its_digits_also_through_an_upcast() {
        let value = r#"[1.10,123456789012345678901234567890,{"b":-0.0,"a":[]}]"#;
        for (event_type, field) in [("FieldUpdated", "field_path"), ("ItemUpdated", "field_name")] {
            let data = format!(
                r#"{{"item_id":"ab9eede9-26b1-4af7-bcf5-3fb793badecd","{field}":"f","old_value":null,"new_value":{value}}}"#
            );
            let event = VocabularyEvent::decode(&Payload {
                aggregate_type: "VocabularyItem".to_owned(),
                event_type: event_type.to_owned(),
                event_data: RawValue::from_string(data).expect("JSON"),
                metadata: Metadata::default(),
            });
            let Ok(Some(VocabularyEvent::FieldUpdated(updated))) = event else { panic!("{event:?}") };
            assert_eq!(serde_json::to_string(&updated.new_value).expect("JSON"), value);
        }
    }
}
