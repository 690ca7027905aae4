//! `vocabulary`: entries with the counts of their items, and the items with what people and AI wrote in them.
//!
//! Entry and item are different aggregates, so either may come first and both may come at once. What an item does to
//! its entry is therefore a difference that is added, never a value that is set.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::topics::vocabulary::{ItemCreated, VocabularyEvent};
use fleet::chrono::{DateTime, Utc};
use fleet::serde_json::Value;
use fleet::uuid::Uuid;
use fleet::{Json, Recorded};
use sqlx::PgConnection;

use fleet::{Error, Projection, column};

pub struct Vocabulary;

#[derive(Debug, Default, PartialEq)]
pub struct Changes {
    entries: BTreeMap<Uuid, Entry>,
    items: BTreeMap<Uuid, Item>,
}

#[derive(Debug, PartialEq)]
struct Entry {
    spelling: String,
    created_at: DateTime<Utc>,
}

/// What changes in the row of an item: all of it if it was created here, else what the events say.
#[derive(Debug, Default, PartialEq)]
struct Item {
    created: Option<(ItemCreated, DateTime<Utc>)>,
    status: Option<&'static str>,
    /// By field path; `None` removes the field.
    fields: BTreeMap<String, Option<Json>>,
    ai_generations: i32,
    published_at: Option<DateTime<Utc>>,
    updated_at: DateTime<Utc>,
    version: i32,
}

impl Projection for Vocabulary {
    const NAME: &'static str = "vocabulary";
    const VERSION: u32 = 1;
    const TABLES: &'static str = include_str!("schema.sql");
    type Event = VocabularyEvent;
    type Changes = Changes;

    fn fold(changes: &mut Changes, event: &Recorded<VocabularyEvent>) {
        let at = event.occurred_at;
        match &event.data {
            VocabularyEvent::EntryCreated(entry) => {
                let spelling = entry.spelling.clone();
                changes.entries.insert(entry.entry_id, Entry { spelling, created_at: at });
            }
            VocabularyEvent::ItemCreated(created) => {
                // Whatever the batch held of the item before had no row to change.
                changes.items.remove(&created.item_id);
                let item = changes.item(created.item_id, event);
                item.created = Some((created.clone(), at));
                item.status = Some("draft");
            }
            VocabularyEvent::FieldUpdated(update) => {
                let value = Some(update.new_value.clone()).filter(|value| !value.is_null());
                changes.item(update.item_id, event).fields.insert(update.field_path.clone(), value);
            }
            VocabularyEvent::AIGenerationCompleted(generation) => {
                let item = changes.item(generation.item_id, event);
                let generated = generation.generated_content.iter();
                item.fields.extend(generated.map(|(key, value)| (format!("ai.{key}"), Some(value.clone()))));
                item.ai_generations += 1;
            }
            VocabularyEvent::ItemPublished(published) => {
                let item = changes.item(published.item_id, event);
                item.status = Some("published");
                item.published_at = Some(at);
            }
            VocabularyEvent::ItemDeleted(deleted) => {
                changes.item(deleted.item_id, event).status = Some("deleted");
            }
            VocabularyEvent::AIGenerationRequested(requested) => {
                changes.item(requested.item_id, event);
            }
            VocabularyEvent::AIGenerationFailed(failed) => {
                changes.item(failed.item_id, event);
            }
            VocabularyEvent::UpdateConflicted(conflicted) => {
                changes.item(conflicted.item_id, event);
            }
        }
    }

    async fn write(changes: Changes, db: &mut PgConnection) -> Result<(), Error> {
        let Changes { entries, items } = changes;
        if entries.is_empty() && items.is_empty() {
            return Ok(());
        }
        sqlx::query_file!(
            "src/vocabulary/write.sql",
            &column(&items, |(id, _)| *id),
            &column(&items, |(_, item)| item.created().map(|created| created.entry_id)) as _,
            &column(&items, |(_, item)| item.created().map(|created| &created.spelling)) as _,
            &column(&items, |(_, item)| item.created().and_then(|created| created.disambiguation.as_ref())) as _,
            &column(&items, |(_, item)| item.created().map(|created| created.created_by)) as _,
            &column(&items, |(_, item)| item.created.as_ref().map(|(_, at)| *at)) as _,
            &column(&items, |(_, item)| item.status) as _,
            &column(&items, |(_, item)| item.set_fields()) as _,
            &column(&items, |(_, item)| item.removed_fields()),
            &column(&items, |(_, item)| item.ai_generations),
            &column(&items, |(_, item)| item.published_at) as _,
            &column(&items, |(_, item)| item.updated_at),
            &column(&items, |(_, item)| item.version),
            &column(&entries, |(id, _)| *id),
            &column(&entries, |(_, entry)| entry.spelling.as_str()) as _,
            &column(&entries, |(_, entry)| entry.created_at),
        )
        .execute(db)
        .await?;
        Ok(())
    }
}

impl Changes {
    /// The changes of an item, of which `event` is now the last.
    fn item(&mut self, item_id: Uuid, event: &Recorded<VocabularyEvent>) -> &mut Item {
        let item = self.items.entry(item_id).or_default();
        item.updated_at = event.occurred_at;
        item.version = event.version.0;
        item
    }
}

impl Item {
    fn created(&self) -> Option<&ItemCreated> {
        self.created.as_ref().map(|(created, _)| created)
    }

    fn set_fields(&self) -> sqlx::types::Json<BTreeMap<&str, &Json>> {
        let set = self.fields.iter().filter_map(|(path, value)| Some((path.as_str(), value.as_ref()?)));
        sqlx::types::Json(set.collect())
    }

    fn removed_fields(&self) -> Value {
        self.fields.iter().filter(|(_, value)| value.is_none()).map(|(path, _)| path.as_str()).collect()
    }
}
