//! What a batch would do, counted before it is done.

use std::collections::BTreeMap;
use std::fmt::Write;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{DeadLetter, Filter};

/// Dead letters that one batch may take. More need another batch after it.
pub const MAX_PLANNED: i64 = 10_000;

/// A count, and the token with which exactly this may be asked for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = RetryPlan)]
pub struct Plan {
    /// Dead letters that the filter names and that nobody has decided about.
    pub selected: i64,
    /// There are more than one batch may take: these are the oldest.
    pub more: bool,
    /// Events that wait behind them.
    pub waiting: i64,
    pub groups: Vec<Group>,
    /// Absent if nothing is selected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_token: Option<String>,
}

/// Dead letters of one kind.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = DeadLetterGroup)]
pub struct Group {
    pub topic: String,
    pub projection: Option<String>,
    pub reason: String,
    pub selected: i64,
    pub waiting: i64,
    /// One of the errors, for a first look.
    pub error: String,
}

/// Counts; writes nothing.
pub async fn plan(pool: &PgPool, filter: &Filter, max: i64) -> sqlx::Result<Plan> {
    let mut letters = filter.select(pool, None, None, true, max + 1).await?;
    let more = letters.len() as i64 > max;
    letters.truncate(max as usize);
    Ok(count(filter, &letters, more))
}

fn count(filter: &Filter, letters: &[DeadLetter], more: bool) -> Plan {
    let mut groups: BTreeMap<_, Group> = BTreeMap::new();
    for letter in letters {
        let key = (letter.topic.clone(), letter.projection.clone(), letter.reason.clone());
        let group = groups.entry(key).or_insert_with(|| Group {
            topic: letter.topic.clone(),
            projection: letter.projection.clone(),
            reason: letter.reason.clone(),
            error: letter.error.clone(),
            ..Group::default()
        });
        group.selected += 1;
        group.waiting += letter.waiting.unwrap_or_default();
    }
    let groups: Vec<_> = groups.into_values().collect();
    Plan {
        selected: letters.len() as i64,
        more,
        waiting: groups.iter().map(|group| group.waiting).sum(),
        groups,
        plan_token: letters.last().map(|last| token(filter, last.id)),
    }
}

/// Names the filter and the last letter counted: what is parked later is not part of the plan.
fn token(filter: &Filter, upto: Uuid) -> String {
    let mut text = format!("{upto}.");
    let json = serde_json::to_vec(filter).expect("a filter holds only strings");
    for byte in &digest::digest(&digest::SHA256, &json).as_ref()[..8] {
        write!(text, "{byte:02x}").expect("a String takes everything");
    }
    text
}

/// The last letter of the plan, if the token is of this filter.
pub(super) fn upto(filter: &Filter, plan_token: &str) -> Option<Uuid> {
    let upto = plan_token.split('.').next()?.parse().ok()?;
    (token(filter, upto) == plan_token).then_some(upto)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_of_one_filter() {
        let filter = Filter { projection: Some("orders".to_owned()), ..Filter::default() };
        let last = Uuid::now_v7();
        let token = token(&filter, last);
        assert_eq!(upto(&filter, &token), Some(last));
        assert_eq!(upto(&Filter::default(), &token), None);
        for wrong in ["", ".", "x", &token[1..], &token[..token.len() - 1]] {
            assert_eq!(upto(&filter, wrong), None, "{wrong}");
        }
    }
}
