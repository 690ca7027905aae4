//! Entries and items.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::canonical::{object, or_null, text, time};
use super::{Event, Tables};

#[derive(Default)]
pub struct Vocabulary {
    entries: BTreeMap<String, Entry>,
    items: BTreeMap<String, Item>,
}

struct Entry {
    spelling: String,
    created_at: DateTime<Utc>,
}

struct Item {
    entry_id: String,
    spelling: String,
    /// As JSON, because it may be null.
    disambiguation: String,
    status: &'static str,
    fields: BTreeMap<String, String>,
    ai_generations: i64,
    created_by: String,
    created_at: DateTime<Utc>,
    published_at: Option<DateTime<Utc>>,
    updated_at: DateTime<Utc>,
    version: i64,
}

impl Vocabulary {
    pub fn apply(&mut self, event: &Event) {
        match event.event_type.as_str() {
            "EntryCreated" => {
                let entry = Entry { spelling: event.string("spelling"), created_at: event.occurred_at };
                self.entries.insert(event.string("entry_id"), entry);
            }
            "ItemCreated" => {
                self.items.insert(event.string("item_id"), Item::created(event));
            }
            "FieldUpdated" => {
                let (path, value) = (event.string("field_path"), event.json("new_value"));
                let item = self.item(event);
                if value == "null" {
                    item.fields.remove(&path);
                } else {
                    item.fields.insert(path, value);
                }
            }
            "AIGenerationCompleted" => {
                let content = event.object("generated_content");
                let item = self.item(event);
                item.ai_generations += 1;
                item.fields.extend(content.into_iter().map(|(key, value)| (format!("ai.{key}"), value)));
            }
            "ItemPublished" => {
                let item = self.item(event);
                item.status = "published";
                item.published_at = Some(event.occurred_at);
            }
            "ItemDeleted" => self.item(event).status = "deleted",
            "AIGenerationRequested" | "AIGenerationFailed" | "UpdateConflicted" => {
                self.item(event);
            }
            _ => {}
        }
    }

    /// The item of an event that is not its first; every event of it leaves its time and version.
    fn item(&mut self, event: &Event) -> &mut Item {
        let item = self.items.get_mut(&event.string("item_id"));
        let item = item.unwrap_or_else(|| panic!("an item begins with ItemCreated, not with {event:?}"));
        item.updated_at = event.occurred_at;
        item.version = event.event_version;
        item
    }

    pub fn rows(&self, tables: &mut Tables) {
        // Items of each entry that are not deleted, and those of them that are published.
        let mut counts: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
        for item in self.items.values().filter(|item| item.status != "deleted") {
            let (items, published) = counts.entry(&item.entry_id).or_default();
            *items += 1;
            *published += i64::from(item.status == "published");
        }
        for (id, entry) in &self.entries {
            let (items, published) = counts.get(id.as_str()).copied().unwrap_or_default();
            let (items, published) = (items.to_string(), published.to_string());
            let values = [text(id), text(&entry.spelling), items, published, time(&entry.created_at)];
            tables.insert("vocabulary_entries", values);
        }
        for (id, item) in &self.items {
            tables.insert(
                "vocabulary_items",
                [
                    text(id),
                    text(&item.entry_id),
                    text(&item.spelling),
                    item.disambiguation.clone(),
                    text(item.status),
                    object(item.fields.clone()),
                    item.ai_generations.to_string(),
                    text(&item.created_by),
                    time(&item.created_at),
                    or_null(item.published_at.as_ref().map(time)),
                    time(&item.updated_at),
                    item.version.to_string(),
                ],
            );
        }
    }
}

impl Item {
    fn created(event: &Event) -> Self {
        Self {
            entry_id: event.string("entry_id"),
            spelling: event.string("spelling"),
            disambiguation: event.json("disambiguation"),
            status: "draft",
            fields: BTreeMap::new(),
            ai_generations: 0,
            created_by: event.string("created_by"),
            created_at: event.occurred_at,
            published_at: None,
            updated_at: event.occurred_at,
            version: event.event_version,
        }
    }
}
