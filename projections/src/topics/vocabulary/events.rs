//! The events of `vocabulary-events`, in their newest shape: the fields that some read model uses.

use fleet::uuid::Uuid;
use fleet::{Json, Object};
use serde::Deserialize;

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
