//! `vocabulary-events`: entries (spellings), their items (senses), and what people and AI write about them.

use serde::Deserialize;
use uuid::Uuid;

use crate::decode::{DecodeError, EventSet, payload, payload_of, upcasted};
use crate::{Json, Object, Payload, Topic, Upcast, topic, upcast};

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
    const TOPIC: &'static Topic = &topic::VOCABULARY;

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

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct EntryCreated {
    pub entry_id: Uuid,
    pub spelling: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ItemCreated {
    pub item_id: Uuid,
    pub entry_id: Uuid,
    pub spelling: String,
    pub disambiguation: Option<String>,
    pub created_by: Uuid,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct FieldUpdated {
    pub item_id: Uuid,
    pub field_path: String,
    /// `null` removes the field.
    pub new_value: Json,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct AIGenerationRequested {
    pub item_id: Uuid,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct AIGenerationCompleted {
    pub item_id: Uuid,
    pub generated_content: Object,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct AIGenerationFailed {
    pub item_id: Uuid,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct UpdateConflicted {
    pub item_id: Uuid,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ItemPublished {
    pub item_id: Uuid,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ItemDeleted {
    pub item_id: Uuid,
}
