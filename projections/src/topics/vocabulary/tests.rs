//! Old items in the shape of today.

use fleet::Metadata;
use fleet::serde_json::json;

use super::*;

#[test]
fn an_item_updated_of_schema_1_is_a_field_updated() {
    let data = json!({"item_id": "ab9eede9-26b1-4af7-bcf5-3fb793badecd", "field_name": "f", "new_value": [1.5, null]});
    let event = VocabularyEvent::decode(&Payload {
        aggregate_type: "VocabularyItem".to_owned(),
        event_type: "ItemUpdated".to_owned(),
        event_data: fleet::serde_json::value::to_raw_value(&data).expect("JSON"),
        metadata: Metadata::default(),
    });
    let Ok(Some(VocabularyEvent::FieldUpdated(updated))) = event else { panic!("{event:?}") };
    assert_eq!((updated.field_path.as_str(), updated.new_value), ("f", data["new_value"].clone().into()));
}
