//! `vocabulary-events`: entries (spellings), their items (senses), and what people and AI write about them.

mod events;
#[cfg(test)]
mod tests;

use fleet::{DecodeError, EventSet, Payload, Topic, Upcast, payload, payload_of, upcast, upcasted};

pub use self::events::*;

/// Entries, their items, and what people and AI write about them.
pub static VOCABULARY: Topic = Topic {
    name: "vocabulary-events",
    aggregate_types: &["VocabularyEntry", "VocabularyItem"],
    subscription: "vocabulary-projection",
    retention_days: 7,
    adopts_foreign_events: false,
};

#[derive(Debug, Clone, PartialEq)]
pub enum VocabularyEvent {
    EntryCreated(EntryCreated),
    ItemCreated(ItemCreated),
    FieldUpdated(FieldUpdated),
    AIGenerationRequested(AIGenerationRequested),
    AIGenerationCompleted(AIGenerationCompleted),
    AIGenerationFailed(AIGenerationFailed),
    UpdateConflicted(UpdateConflicted),
    ItemPublished(ItemPublished),
    ItemDeleted(ItemDeleted),
}

/// `FieldUpdated` was called `ItemUpdated` in schema 1, and its `field_path` `field_name`.
static FIELD_UPDATED: Upcast = Upcast(&[|mut data| {
    upcast::rename(&mut data, "field_name", "field_path");
    data
}]);

impl EventSet for VocabularyEvent {
    const TOPICS: &'static [&'static Topic] = &[&VOCABULARY];

    fn decode(event: &Payload) -> Result<Option<Self>, DecodeError> {
        Ok(Some(match event.event_type.as_str() {
            "EntryCreated" => Self::EntryCreated(payload(event)?),
            "ItemCreated" => Self::ItemCreated(payload(event)?),
            "FieldUpdated" => Self::FieldUpdated(payload_of(event, FIELD_UPDATED.newest())?),
            "ItemUpdated" => Self::FieldUpdated(upcasted(event, &FIELD_UPDATED)?),
            "AIGenerationRequested" => Self::AIGenerationRequested(payload(event)?),
            "AIGenerationCompleted" => Self::AIGenerationCompleted(payload(event)?),
            "AIGenerationFailed" => Self::AIGenerationFailed(payload(event)?),
            "UpdateConflicted" => Self::UpdateConflicted(payload(event)?),
            "ItemPublished" => Self::ItemPublished(payload(event)?),
            "ItemDeleted" => Self::ItemDeleted(payload(event)?),
            _ => return Ok(None),
        }))
    }
}
