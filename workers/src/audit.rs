//! Who did what, and why. An entry is written in the transaction of the deed, so that neither is there without the other.

use std::fmt::Display;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::invalid::Invalid;

/// The most bytes of an actor's name or of a reason.
const MAX_TEXT: usize = 1000;

/// A person, or a program, and its reason. Either may be empty where the deed can be undone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Attribution {
    #[serde(default)]
    pub actor: String,
    #[serde(default)]
    pub reason: String,
}

impl Attribution {
    /// # Errors
    /// A text is too long, or nothing that Postgres could keep.
    pub fn check(&self) -> Result<(), Invalid> {
        match self.fields().into_iter().find(|(_, text)| text.len() > MAX_TEXT || text.contains('\0')) {
            Some((field, _)) => Err(Invalid { field, problem: "at most 1000 bytes, and no NUL".to_owned() }),
            None => Ok(()),
        }
    }

    /// For what cannot be undone.
    ///
    /// # Errors
    /// As [`check`](Self::check), or a text is empty.
    pub fn require(&self) -> Result<(), Invalid> {
        match self.fields().into_iter().find(|(_, text)| text.trim().is_empty()) {
            Some((field, _)) => {
                Err(Invalid { field, problem: "must say something: others will read it afterwards".to_owned() })
            }
            None => self.check(),
        }
    }

    fn fields(&self) -> [(&'static str, &str); 2] {
        [("actor", &self.actor), ("reason", &self.reason)]
    }
}

/// An entry as `GET /admin/v1/audit` shows it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditEntry)]
pub struct Entry {
    pub id: Uuid,
    pub at: DateTime<Utc>,
    pub actor: String,
    /// Such as `dead_letter.discard`.
    pub action: String,
    /// What it was done to: the id of a dead letter, of an event, or of an operation, or the name of a table.
    pub target: String,
    pub reason: String,
    #[schema(value_type = Value)]
    pub detail: Json<Value>,
}

/// Belongs into the transaction of the deed.
pub async fn record(
    db: &mut PgConnection,
    by: &Attribution,
    action: &str,
    target: impl Display,
    detail: &Value,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into audit_log (id, actor, action, target, reason, detail) values ($1, $2, $3, $4, $5, $6)",
        Uuid::now_v7(),
        by.actor,
        action,
        target.to_string(),
        by.reason,
        detail
    )
    .execute(db)
    .await
    .map(drop)
}

/// The newest entries first; `before` is the id of the last one seen.
pub async fn list(pool: &PgPool, before: Option<Uuid>, limit: i64) -> sqlx::Result<Vec<Entry>> {
    sqlx::query_as!(
        Entry,
        r#"select id, at, actor, action, target, reason, detail as "detail: _"
           from audit_log
           where $1::uuid is null or id < $1
           order by id desc
           limit $2"#,
        before,
        limit
    )
    .fetch_all(pool)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_undone_needs_a_name_and_a_reason() {
        let by = |actor: &str, reason: &str| Attribution { actor: actor.to_owned(), reason: reason.to_owned() };
        assert_eq!(by("ada", "the handler is fixed").require(), Ok(()));
        assert_eq!(by("", "").check(), Ok(()));
        assert_eq!(by(" ", "why").require().expect_err("no actor").field, "actor");
        assert_eq!(by("ada", "").require().expect_err("no reason").field, "reason");
        assert_eq!(by("ada", "a\0b").check().expect_err("NUL").field, "reason");
        assert_eq!(by(&"a".repeat(1001), "why").require().expect_err("too long").field, "actor");
    }
}
