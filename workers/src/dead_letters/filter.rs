//! Which dead letters are meant. Parsed from outside, checked, and bound as parameters: never text in a statement.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sqlx::PgExecutor;
use utoipa::ToSchema;
use uuid::Uuid;

use super::DeadLetter;
use super::park::Reason;
use crate::invalid::Invalid;

/// The most ids that one filter may name.
const MAX_IDS: usize = 1000;

/// All conditions together; an absent one means any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = DeadLetterFilter)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 1000)]
    pub ids: Option<BTreeSet<Uuid>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 400, pattern = "^[^\\x00]*$")]
    pub projection: Option<String>,
    /// Of the projection; without it those of all that are kept: the live one, one that is built, the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub generation: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 400, pattern = "^[^\\x00]*$")]
    pub topic: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate_id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 400, pattern = "^[^\\x00]*$")]
    pub event_type: Option<String>,
    /// Nor of these projections; nobody outside says so.
    #[serde(skip)]
    #[schema(ignore)]
    pub not_of: Vec<String>,
}

impl Filter {
    pub fn one(id: Uuid) -> Self {
        Self { ids: Some(BTreeSet::from([id])), ..Self::default() }
    }

    /// # Errors
    /// The filter can mean nothing.
    pub fn check(&self) -> Result<(), Invalid> {
        let invalid = |field, problem: String| Err(Invalid { field, problem });
        match self.ids.as_ref().map(BTreeSet::len) {
            Some(0) => return invalid("ids", "is empty and would select nothing; leave it out for all".to_owned()),
            Some(count) if count > MAX_IDS => return invalid("ids", format!("names {count}, at most {MAX_IDS}")),
            _ => {}
        }
        if self.generation.is_some() && self.projection.is_none() {
            return invalid("generation", "is of a projection, and none is named".to_owned());
        }
        for (field, text) in [
            ("projection", self.projection.as_deref()),
            ("topic", self.topic.as_deref()),
            ("event_type", self.event_type.as_deref()),
        ] {
            if text.is_some_and(|text| text.is_empty() || text.len() > 400 || text.contains('\0')) {
                return invalid(field, "must have 1 to 400 bytes, and no NUL".to_owned());
            }
        }
        Ok(())
    }

    /// Letters after `after` and not after `upto`, by id.
    pub(super) async fn select(
        &self,
        db: impl PgExecutor<'_>,
        after: Option<Uuid>,
        upto: Option<Uuid>,
        undecided: bool,
        limit: i64,
    ) -> sqlx::Result<Vec<DeadLetter>> {
        let ids: Option<Vec<Uuid>> = self.ids.as_ref().map(|ids| ids.iter().copied().collect());
        // Ids that are named bound what is gone through, whatever plan is kept.
        let (first, last) = self.ids.as_ref().map_or((None, None), |ids| (ids.first().copied(), ids.last().copied()));
        let before = |id: Uuid| Uuid::from_u128(id.as_u128().saturating_sub(1));
        let after = after.max(first.map(before));
        let upto = upto.into_iter().chain(last).min();
        sqlx::query_file_as!(
            DeadLetter,
            "src/dead_letters/list.sql",
            ids.as_deref(),
            self.projection,
            self.topic,
            self.reason.map(Reason::as_str),
            self.aggregate_id,
            self.event_type,
            after,
            upto,
            undecided,
            limit,
            self.generation,
            &self.not_of
        )
        .fetch_all(db)
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_can_mean_nothing_is_refused_by_its_field() {
        for (json, field) in [
            (r#"{"ids":[]}"#, "ids"),
            (r#"{"projection":""}"#, "projection"),
            (r#"{"topic":""}"#, "topic"),
            (r#"{"generation":2}"#, "generation"),
            (r#"{"event_type":"x\u0000"}"#, "event_type"),
        ] {
            let filter: Filter = serde_json::from_str(json).expect(json);
            assert_eq!(filter.check().expect_err(json).field, field);
        }
        assert_eq!(Filter::default().check(), Ok(()));
    }
}
