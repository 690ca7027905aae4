//! Which events a replay is about. Parsed from outside, checked, and bound as parameters: never text in a statement.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, Utc};
use event_store::read::Filter;
use events::{AggregateId, Position, Topic};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    AdditionalProperties, KnownFormat, Object, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type,
};

use crate::invalid::Invalid;
use crate::object::optional;

/// The most aggregates and event types that one selection may name.
const MAX_NAMED: usize = 1000;

/// All conditions together; an absent one selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Positions in the store, both ends included.
    #[serde(default, deserialize_with = "optional", skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = positions)]
    pub positions: Option<Range<i64>>,
    /// Times of occurrence (`occurred_at`), from included, to excluded.
    #[serde(default, deserialize_with = "optional", skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = times)]
    pub times: Option<Range<DateTime<Utc>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeSet<uuid::Uuid>>, min_items = 1, max_items = 1000)]
    pub aggregates: Option<BTreeSet<AggregateId>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 1000)]
    pub event_types: Option<BTreeSet<String>>,
}

/// From, to, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range<T> {
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub from: Option<T>,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub to: Option<T>,
}

fn positions() -> RefOr<Schema> {
    let position = ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::Integer, Type::Null]));
    let position = position.format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64))).minimum(Some(1)).build();
    range("Positions in the store, both ends included.", position)
}

fn times() -> RefOr<Schema> {
    let time = ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::String, Type::Null]));
    let time = time.format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))).build();
    range("Times of occurrence (`occurred_at`), from included, to excluded.", time)
}

/// A [`Range`], described by hand: what is derived has no least number of members.
fn range(what: &str, end: Object) -> RefOr<Schema> {
    let range = ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        .description(Some(what))
        .property("from", end.clone())
        .property("to", end)
        .min_properties(Some(1))
        .additional_properties(Some(AdditionalProperties::FreeForm(false)));
    range.build().into()
}

fn none<T>() -> Option<T> {
    None
}

impl Selection {
    /// # Errors
    /// The selection contradicts itself or can select nothing.
    pub fn check(&self) -> Result<(), Invalid> {
        let invalid = |field, problem: String| Err(Invalid { field, problem });
        if let Some(Range { from, to }) = self.positions {
            if from.is_none() && to.is_none() {
                return invalid("selection.positions", "needs from, to, or both".to_owned());
            }
            if let Some(low) = from.into_iter().chain(to).find(|position| *position < 1) {
                return invalid("selection.positions", format!("positions begin at 1, not {low}"));
            }
            if let (Some(from), Some(to)) = (from, to)
                && from > to
            {
                return invalid("selection.positions", format!("from {from} is after to {to}"));
            }
        }
        if let Some(Range { from, to }) = self.times {
            if from.is_none() && to.is_none() {
                return invalid("selection.times", "needs from, to, or both".to_owned());
            }
            // Postgres knows fewer years than we can read.
            if let Some(far) = from.into_iter().chain(to).find(|time| !(0..=9999).contains(&time.year())) {
                return invalid("selection.times", format!("must be within the years 0 to 9999, not {}", far.year()));
            }
            if let (Some(from), Some(to)) = (from, to)
                && from >= to
            {
                return invalid("selection.times", format!("from {from} is not before to {to}"));
            }
        }
        named("selection.aggregates", self.aggregates.as_ref().map(BTreeSet::len))?;
        named("selection.event_types", self.event_types.as_ref().map(BTreeSet::len))?;
        if let Some(types) = &self.event_types
            && let Some(wrong) = types.iter().find(|name| name.is_empty() || name.contains('\0') || name.len() > 400)
        {
            return invalid("selection.event_types", format!("{wrong:?} is not an event type"));
        }
        Ok(())
    }

    /// The position before the first that can be selected.
    pub fn after(&self) -> Position {
        Position(self.positions.and_then(|range| range.from).map_or(0, |from| from - 1))
    }

    /// The last position that can be selected, in a store that ends at `head`.
    pub fn upto(&self, head: Position) -> Position {
        Position(self.positions.and_then(|range| range.to).map_or(head.0, |to| to.min(head.0)))
    }

    /// What to read of these topics' events; times are left to [`includes`](Self::includes).
    pub fn filter(&self, topics: &[&Topic]) -> Filter {
        let aggregate_types: Vec<_> = topics.iter().flat_map(|topic| topic.aggregate_types).copied().collect();
        Filter {
            aggregate_ids: self.aggregates.iter().flatten().copied().collect(),
            event_types: self.event_types.iter().flatten().cloned().collect(),
            ..Filter::aggregate_types(&aggregate_types)
        }
    }

    pub fn includes(&self, occurred_at: DateTime<Utc>) -> bool {
        self.times.is_none_or(|Range { from, to }| {
            from.is_none_or(|from| occurred_at >= from) && to.is_none_or(|to| occurred_at < to)
        })
    }
}

fn named(field: &'static str, count: Option<usize>) -> Result<(), Invalid> {
    match count {
        Some(0) => {
            Err(Invalid { field, problem: "is empty and would select nothing; leave it out for all".to_owned() })
        }
        Some(count) if count > MAX_NAMED => {
            Err(Invalid { field, problem: format!("names {count}, at most {MAX_NAMED}") })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(json: &str) -> Selection {
        serde_json::from_str(json).expect("a selection")
    }

    #[test]
    fn contradictions_are_named() {
        for (json, field) in [
            (r#"{"positions":{}}"#, "selection.positions"),
            (r#"{"positions":{"from":0}}"#, "selection.positions"),
            (r#"{"positions":{"from":9,"to":8}}"#, "selection.positions"),
            (r#"{"times":{}}"#, "selection.times"),
            (r#"{"times":{"from":"2026-01-02T00:00:00Z","to":"2026-01-01T00:00:00Z"}}"#, "selection.times"),
            (r#"{"times":{"from":"-4714-01-01T00:00:00Z"}}"#, "selection.times"),
            (r#"{"times":{"to":"+262142-01-01T00:00:00Z"}}"#, "selection.times"),
            (r#"{"aggregates":[]}"#, "selection.aggregates"),
            (r#"{"event_types":[]}"#, "selection.event_types"),
            (r#"{"event_types":[""]}"#, "selection.event_types"),
        ] {
            assert_eq!(selection(json).check().expect_err(json).field, field);
        }
    }

    #[test]
    fn what_is_absent_selects_everything() {
        let all = selection("{}");
        assert_eq!(all.check(), Ok(()));
        assert_eq!((all.after(), all.upto(Position(7))), (Position(0), Position(7)));
        assert!(all.includes(Utc::now()));
    }

    #[test]
    fn ends_are_as_documented() {
        let some = selection(
            r#"{"positions":{"from":3,"to":9},"times":{"from":"2026-01-01T00:00:00Z","to":"2026-01-02T00:00:00Z"}}"#,
        );
        assert_eq!(
            (some.after(), some.upto(Position(100)), some.upto(Position(5))),
            (Position(2), Position(9), Position(5))
        );
        let time = |text: &str| text.parse().expect("a time");
        assert!(some.includes(time("2026-01-01T00:00:00Z")));
        assert!(!some.includes(time("2026-01-02T00:00:00Z")));
    }
}
