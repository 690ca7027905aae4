//! Pruning that a person asks for: what a plan showed and no more, a bounded part at a time, each with its line in the audit log in
//! the same transaction.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use database::Lent;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgPool;
use sqlx::types::Json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Retention, Table, batch};
use crate::audit::Attribution;

/// Rows of each table that one request prunes.
const MOST: i64 = 5000;

/// What one request pruned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pruned {
    /// Rows of each table.
    pub pruned: BTreeMap<Table, u64>,
    /// Perhaps there are more: ask again, with the same plan.
    pub more: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("the Idempotency-Key was used for another request")]
    KeyReused,
}

/// Prunes what was old at `as_of`.
///
/// # Errors
/// The database cannot do it, or the key was another request's. Nothing is pruned then.
pub async fn prune(
    pool: &PgPool,
    retention: &Retention,
    as_of: DateTime<Utc>,
    by: &Attribution,
    idempotency_key: Option<&str>,
) -> Result<Pruned, Refused> {
    let asked = json!({"keep": retention, "as_of": as_of});
    let mut db = Lent::by(pool).await?;
    let mut tx = db.begin().await?;
    if let Some(key) = idempotency_key {
        sqlx::query!("select pg_advisory_xact_lock(hashtextextended($1, 0))", key).execute(&mut *tx).await?;
        let before = sqlx::query_scalar!(
            r#"select detail as "detail: Json<Detail>" from audit_log where action = 'retention.prune' and target = $1"#,
            key
        );
        if let Some(Json(before)) = before.fetch_optional(&mut *tx).await? {
            return if before.asked == asked { Ok(before.done) } else { Err(Refused::KeyReused) };
        }
    }
    let mut done = Pruned { pruned: BTreeMap::new(), more: false };
    for table in Table::ALL {
        let Some(before) = retention.before(table, as_of) else { continue };
        let pruned = batch(&mut tx, table, before, MOST).await?;
        done.more |= pruned >= MOST as u64;
        done.pruned.insert(table, pruned);
    }
    let id = Uuid::now_v7();
    let target = idempotency_key.map_or_else(|| id.to_string(), str::to_owned);
    let detail = Json(Detail { asked, done });
    sqlx::query!(
        "insert into audit_log (id, actor, action, target, reason, detail) values ($1, $2, 'retention.prune', $3, $4, $5)",
        id,
        by.actor,
        target,
        by.reason,
        &detail as &Json<Detail>
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    db.give_back();
    Ok(detail.0.done)
}

/// As the audit log has it.
#[derive(Debug, Serialize, Deserialize)]
struct Detail {
    asked: serde_json::Value,
    #[serde(flatten)]
    done: Pruned,
}
