//! The fold of `vocabulary`, without a database.

use crate::topics::vocabulary::{
    AIGenerationCompleted, AIGenerationRequested, EntryCreated, FieldUpdated, ItemDeleted, ItemPublished,
};
use fleet::serde_json::json;

use super::*;
use fleet::testing::{folded, history, recorded};

const ENTRY: Uuid = Uuid::from_u128(1);
const ITEM: Uuid = Uuid::from_u128(2);
const AT: &str = "2026-01-05T08:00:00Z";
const LATER: &str = "2026-01-05T09:00:00.123456Z";

fn created() -> VocabularyEvent {
    VocabularyEvent::ItemCreated(ItemCreated {
        item_id: ITEM,
        entry_id: ENTRY,
        spelling: "couple".to_owned(),
        disambiguation: None,
        created_by: Uuid::from_u128(3),
    })
}

fn field(path: &str, new_value: Value) -> VocabularyEvent {
    let new_value = new_value.into();
    VocabularyEvent::FieldUpdated(FieldUpdated { item_id: ITEM, field_path: path.to_owned(), new_value })
}

fn set_fields(item: &Item) -> Value {
    serde_json::to_value(item.set_fields()).expect("JSON")
}

fn item(events: impl IntoIterator<Item = (&'static str, VocabularyEvent)>) -> Item {
    let mut changes = folded::<Vocabulary>(&history(ITEM, events));
    assert_eq!(changes.items.len(), 1);
    changes.items.remove(&ITEM).expect("the only item there is")
}

#[test]
fn a_field_set_and_then_removed_in_one_batch_is_removed() {
    let item = item([(AT, field("note", json!("x"))), (AT, field("note", Value::Null))]);
    assert_eq!(set_fields(&item), json!({}));
    assert_eq!(item.removed_fields(), json!(["note"]));
}

#[test]
fn a_field_removed_and_then_set_in_one_batch_is_set() {
    let item = item([(AT, field("note", Value::Null)), (AT, field("note", json!({"deep": null})))]);
    assert_eq!(set_fields(&item), json!({"note": {"deep": null}}));
    assert_eq!(item.removed_fields(), json!([]));
}

#[test]
fn what_ai_generated_is_set_under_ai_and_counted_even_if_it_is_null() {
    let content = json!({"definition": "two", "hint": null});
    let generated_content = serde_json::from_value(content).expect("an object");
    let generated = VocabularyEvent::AIGenerationCompleted(AIGenerationCompleted { item_id: ITEM, generated_content });
    let item = item([(AT, generated.clone()), (AT, generated)]);
    assert_eq!(set_fields(&item), json!({"ai.definition": "two", "ai.hint": null}));
    assert_eq!(item.ai_generations, 2);
}

#[test]
fn every_event_of_an_item_sets_its_time_and_version() {
    let requested = VocabularyEvent::AIGenerationRequested(AIGenerationRequested { item_id: ITEM });
    let item = item([(AT, created()), (LATER, requested)]);
    assert_eq!(item.updated_at, LATER.parse::<DateTime<Utc>>().expect("a time"));
    assert_eq!(item.version, 2);
    assert_eq!(item.created, Some((item.created().expect("created").clone(), AT.parse().expect("a time"))));
}

#[test]
fn an_item_is_a_draft_then_published_then_deleted_and_remembers_when_it_was_published() {
    let published = VocabularyEvent::ItemPublished(ItemPublished { item_id: ITEM });
    let deleted = VocabularyEvent::ItemDeleted(ItemDeleted { item_id: ITEM });
    assert_eq!(item([(AT, created())]).status, Some("draft"));
    assert_eq!(item([(AT, created()), (AT, published.clone())]).status, Some("published"));
    let item = item([(AT, created()), (LATER, published), (LATER, deleted)]);
    assert_eq!(item.status, Some("deleted"));
    assert_eq!(item.published_at, LATER.parse().ok());
}

#[test]
fn what_comes_before_the_creation_of_an_item_leaves_no_trace() {
    let item = item([(AT, field("note", json!("lost"))), (AT, created()), (AT, field("kept", json!(1)))]);
    assert_eq!(set_fields(&item), json!({"kept": 1}));
    assert_eq!(item.version, 3);
}

#[test]
fn an_update_alone_creates_nothing() {
    let item = item([(AT, field("note", json!("x")))]);
    assert_eq!(item.created, None);
    assert_eq!(item.status, None);
}

#[test]
fn an_entry_and_its_item_fold_to_the_same_in_either_order() {
    let entry = VocabularyEvent::EntryCreated(EntryCreated { entry_id: ENTRY, spelling: "couple".to_owned() });
    let entry = recorded(ENTRY, 1, AT, entry);
    let item = recorded(ITEM, 1, LATER, created());
    assert_eq!(folded::<Vocabulary>([&entry, &item]), folded::<Vocabulary>([&item, &entry]));
}
