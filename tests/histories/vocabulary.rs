//! Entries and items: written, generated, fought over, published, deleted.

use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::json;
use uuid::Uuid;

use super::values::{self, text, word};
use super::world::{Aggregate, Happening, World, happening};

pub struct Entry {
    aggregate: Aggregate,
    spelling: String,
}

#[derive(Clone)]
pub struct Item {
    pub aggregate: Aggregate,
    author: Uuid,
    status: Status,
}

#[derive(Clone, Copy, PartialEq)]
enum Status {
    Draft,
    Published,
    Deleted,
}

const PATHS: [&str; 6] = ["part_of_speech", "definitions[0]", "definitions[1]", "examples[0].text", "ai.notes", "ключ"];

impl World {
    pub fn create_entry(&mut self) {
        let mut aggregate = self.aggregate("VocabularyEntry");
        let spelling = word(&mut self.rng);
        let created = happening("EntryCreated", json!({"entry_id": aggregate.id, "spelling": spelling}));
        self.append(&mut aggregate, [created]);
        self.entries.push(Entry { aggregate, spelling });
    }

    pub fn create_item(&mut self) {
        let mut aggregate = self.aggregate("VocabularyItem");
        let author = self.favourite(self.users.len());
        let author = self.users[author].aggregate.id;
        let entry = self.favourite(self.entries.len());
        let entry = &self.entries[entry];
        let (entry_id, spelling) = (entry.aggregate.id, entry.spelling.clone());
        let disambiguation = self.rng.random_bool(0.5).then(|| word(&mut self.rng));
        let data = json!({
            "item_id": aggregate.id, "entry_id": entry_id, "spelling": spelling, "disambiguation": disambiguation,
            "created_by": author,
        });
        let mut happenings = vec![happening("ItemCreated", data)];
        for _ in 0..self.rng.random_range(0..4) {
            happenings.push(self.field_updated(aggregate.id, author));
        }
        self.append(&mut aggregate, happenings);
        self.items.push(Item { aggregate, author, status: Status::Draft });
    }

    pub fn change_item(&mut self) {
        let index = self.favourite(self.items.len());
        let mut item = self.items[index].clone();
        let id = item.aggregate.id;
        let choice = self.rng.random_range(0..100);
        let happenings = match choice {
            // What was asked for comes, even when the item is gone.
            0..10 => {
                let again = self.rng.random_bool(0.2);
                vec![happening("AIGenerationRequested", json!({"item_id": id, "is_regeneration": again}))]
            }
            10..25 => vec![self.generated(id)],
            25..30 => {
                let data = json!({"item_id": id, "error": word(&mut self.rng), "retry_count": choice % 3});
                vec![happening("AIGenerationFailed", data)]
            }
            30..35 => {
                let (version, fields) = (item.aggregate.version, PATHS.choose_multiple(&mut self.rng, 2));
                let fields: Vec<_> = fields.collect();
                let data = json!({
                    "item_id": id, "attempted_by": item.author, "expected_version": version - 1,
                    "actual_version": version, "conflicting_fields": fields,
                });
                vec![happening("UpdateConflicted", data)]
            }
            35..38 => vec![happening("ItemViewed", json!({"item_id": id}))],
            _ if item.status == Status::Deleted => return,
            38..43 => {
                item.status = Status::Deleted;
                vec![happening("ItemDeleted", json!({"item_id": id, "deleted_by": item.author}))]
            }
            43..60 if item.status == Status::Draft => {
                item.status = Status::Published;
                vec![happening("ItemPublished", json!({"item_id": id, "published_by": item.author}))]
            }
            _ => (0..self.rng.random_range(1..4)).map(|_| self.field_updated(id, item.author)).collect(),
        };
        self.append(&mut item.aggregate, happenings);
        self.items[index] = item;
    }

    /// By its new name or, as it was called first, by its old one.
    fn field_updated(&mut self, item: Uuid, author: Uuid) -> Happening {
        let path = text(PATHS.choose(&mut self.rng).unwrap());
        let (old, new) = (values::json(&mut self.rng), values::json(&mut self.rng));
        let old_name = self.rng.random_ratio(1, 4);
        let (event_type, schema_version, field) =
            if old_name { ("ItemUpdated", 1, "field_name") } else { ("FieldUpdated", 2, "field_path") };
        let data = format!(
            r#"{{"item_id":"{item}","{field}":{path},"old_value":{old},"new_value":{new},"updated_by":"{author}"}}"#
        );
        Happening { event_type, schema_version, data }
    }

    fn generated(&mut self, item: Uuid) -> Happening {
        let keys = ["synonyms", "notes", "usage_notes", "difficulty_level"];
        let count = self.rng.random_range(0..=keys.len());
        let keys: Vec<_> = keys.choose_multiple(&mut self.rng, count).collect();
        let entry = |key: &&str| format!(r#""{key}":{}"#, values::json(&mut self.rng));
        let content = keys.into_iter().map(entry).collect::<Vec<_>>().join(",");
        let data = format!(r#"{{"item_id":"{item}","ai_model":"model-a","generated_content":{{{content}}}}}"#);
        happening("AIGenerationCompleted", data)
    }
}
