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

    /// Whether it is JSON's `null`.
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
    use crate::EventSet;
    use crate::orders::{OrderEvent, stored};

    #[test]
    fn a_value_keeps_all_its_digits_also_through_an_upcast() {
        let value = r#"[1.10,123456789012345678901234567890,{"b":-0.0,"a":[]}]"#;
        for (event_type, field) in [("OrderPlaced", "note"), ("OrderMade", "remark")] {
            let event = OrderEvent::decode(&stored(event_type, 1, &format!(r#"{{"{field}":{value}}}"#)));
            let Ok(Some(OrderEvent::Placed(placed))) = event else { panic!("{event:?}") };
            assert_eq!(serde_json::to_string(&placed.note).expect("JSON"), value);
        }
    }
}
