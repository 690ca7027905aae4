//! An event as the store has it, its data still as JSON.

use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound, Utc};
use serde_json::value::RawValue;

use super::canonical::canonical;

pub type Object = BTreeMap<String, Box<RawValue>>;

#[derive(Debug, Clone)]
pub struct Event {
    pub event_id: String,
    pub aggregate_id: String,
    pub aggregate_type: String,
    pub event_type: String,
    pub event_version: i64,
    event_data: Object,
    schema_version: i64,
    pub occurred_at: DateTime<Utc>,
}

impl Event {
    /// Reads an event from a JSON object with the columns of the store.
    pub fn parse(json: &str) -> Self {
        let columns: Object = serde_json::from_str(json).unwrap();
        let aggregate = (string(&columns, "aggregate_id"), string(&columns, "aggregate_type"));
        Self::new(aggregate, integer(&columns, "event_version"), &columns)
    }

    /// Reads the events of an append request, a line of an import file, which says what version it expects.
    pub fn of_append(line: &str) -> Vec<Self> {
        let request: Object = serde_json::from_str(line).unwrap();
        let aggregate = (string(&request, "aggregate_id"), string(&request, "aggregate_type"));
        let events: Vec<Object> = serde_json::from_str(request["events"].get()).unwrap();
        let versions = integer(&request, "expected_version") + 1..;
        events.iter().zip(versions).map(|(event, version)| Self::new(aggregate.clone(), version, event)).collect()
    }

    fn new((aggregate_id, aggregate_type): (String, String), event_version: i64, columns: &Object) -> Self {
        let metadata: Object = serde_json::from_str(columns["metadata"].get()).unwrap();
        let occurred_at = DateTime::parse_from_rfc3339(&string(columns, "occurred_at")).unwrap();
        Self {
            event_id: string(columns, "event_id"),
            aggregate_id,
            aggregate_type,
            event_type: string(columns, "event_type"),
            event_version,
            event_data: serde_json::from_str(columns["event_data"].get()).unwrap(),
            schema_version: if metadata.contains_key("schema_version") {
                integer(&metadata, "schema_version")
            } else {
                1
            },
            // What the store keeps of it.
            occurred_at: occurred_at.to_utc().trunc_subsecs(6),
        }
    }

    /// The event in its newest shape.
    pub fn upcasted(mut self) -> Self {
        if self.event_type == "ItemUpdated" {
            self.event_type = "FieldUpdated".to_owned();
            self.rename("field_name", "field_path");
        }
        if self.event_type == "UserSignedUp" && self.schema_version == 1 {
            self.rename("name", "first_name");
            self.event_data.insert("last_name".to_owned(), RawValue::from_string("\"\"".to_owned()).unwrap());
        }
        self
    }

    fn rename(&mut self, old: &str, new: &str) {
        let value = self.event_data.remove(old).unwrap_or_else(|| panic!("no {old} in {self:?}"));
        self.event_data.insert(new.to_owned(), value);
    }

    /// A field of the data as canonical JSON.
    pub fn json(&self, field: &str) -> String {
        canonical(self.event_data[field].get())
    }

    pub fn string(&self, field: &str) -> String {
        string(&self.event_data, field)
    }

    pub fn integer(&self, field: &str) -> i64 {
        integer(&self.event_data, field)
    }

    /// A field that is an object: its values as canonical JSON.
    pub fn object(&self, field: &str) -> BTreeMap<String, String> {
        let object: Object = serde_json::from_str(self.event_data[field].get()).unwrap();
        object.into_iter().map(|(key, value)| (key, canonical(value.get()))).collect()
    }
}

fn string(object: &Object, field: &str) -> String {
    let value = object.get(field).unwrap_or_else(|| panic!("no {field} in {object:?}"));
    serde_json::from_str(value.get()).unwrap_or_else(|error| panic!("{field} of {object:?}: {error}"))
}

fn integer(object: &Object, field: &str) -> i64 {
    let value = object.get(field).unwrap_or_else(|| panic!("no {field} in {object:?}"));
    value.get().parse().unwrap_or_else(|error| panic!("{field} of {object:?}: {error}"))
}
