//! One switch that stops all operations: for whoever does not know yet which of them does harm.
//!
//! While it stands no repair, no batch of retries, no rebuild and no verification takes a step, and none is begun. What one
//! does in an emergency goes on: promote, rollback, retire, pausing a projection, retrying or discarding one letter. So does a
//! generation that is built: it must not fall behind, or it would be lost for the way back.

use chrono::TimeDelta;
use database::Lent;
use kill_points::kill_point;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{Connection, PgConnection, PgExecutor, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Accepted, New, Refused};
use crate::audit::{self, Attribution};
use crate::pause::Pause;

/// A stop that is asked for.
#[derive(Debug, Clone)]
pub struct NewStop {
    /// `None`: until somebody has them go on.
    pub seconds: Option<u32>,
    /// In place of the stop that there is.
    pub replace: bool,
    pub by: Attribution,
    pub idempotency_key: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = StopSwitched)]
pub struct Switched {
    /// The stop that began; `null`: they go on.
    pub stopped: Option<Pause>,
    /// What is kept of it among the operations.
    pub operation: Uuid,
}

#[derive(Debug, thiserror::Error)]
pub enum Unswitched {
    #[error(transparent)]
    Asked(#[from] Refused),
    #[error("all operations are stopped already, {}; with `replace` (--replace) this stop takes its place", .0.of_operations())]
    StoppedAlready(Pause),
    #[error("they are not stopped")]
    NotStopped,
}

impl From<sqlx::Error> for Unswitched {
    fn from(error: sqlx::Error) -> Self {
        Self::Asked(error.into())
    }
}

/// The stop that stands now.
///
/// # Errors
/// The database's.
pub async fn standing(db: impl PgExecutor<'_>) -> sqlx::Result<Option<Pause>> {
    let row = sqlx::query!(
        "select reason, stopped_by, stopped_at, nullif(stopped_until, 'infinity') as until
         from operations_stop
         where stopped_until > clock_timestamp()"
    );
    let row = row.fetch_optional(db).await?;
    Ok(row.and_then(|row| Pause::of(row.reason, row.stopped_by, row.stopped_at, row.until)))
}

/// Stops all operations. Each ends the step that it is in; within two seconds none begins another.
///
/// # Errors
/// They are stopped already, or the key was another request's.
pub async fn stop(pool: &PgPool, new: &NewStop) -> Result<Switched, Unswitched> {
    let selection = json!({"seconds": new.seconds, "replace": new.replace});
    switch(pool, "stop", &selection, &new.by, new.idempotency_key.as_deref(), async |db, id, before| {
        if let Some(stop) = before.clone().filter(|_| !new.replace) {
            return Err(Unswitched::StoppedAlready(stop));
        }
        sqlx::query!(
            "update operations_stop
             set stopped_at = asked.created_at,
                 stopped_until = coalesce(asked.created_at + make_interval(secs => $2), 'infinity'),
                 stopped_by = asked.actor, reason = asked.reason
             from operations as asked
             where asked.id = $1",
            id,
            new.seconds.map(f64::from)
        )
        .execute(&mut *db)
        .await?;
        let detail = json!({"seconds": new.seconds, "instead_of": before});
        Ok(audit::record(db, &new.by, "operations.stop", id, &detail).await?)
    })
    .await
}

/// Has them go on.
///
/// # Errors
/// They are not stopped, or the key was another request's.
pub async fn go_on(pool: &PgPool, by: &Attribution, idempotency_key: Option<&str>) -> Result<Switched, Unswitched> {
    switch(pool, "go_on", &json!({}), by, idempotency_key, async |db, id, before| {
        let stop = before.ok_or(Unswitched::NotStopped)?;
        sqlx::query!(
            "update operations_stop
             set stopped_at = null, stopped_until = null, stopped_by = null, reason = null, ended_at = clock_timestamp()"
        )
        .execute(&mut *db)
        .await?;
        Ok(audit::record(db, by, "operations.go_on", id, &json!({"stopped": stop})).await?)
    })
    .await
}

async fn switch(
    pool: &PgPool,
    kind: &'static str,
    selection: &serde_json::Value,
    by: &Attribution,
    idempotency_key: Option<&str>,
    work: impl AsyncFnOnce(&mut PgConnection, Uuid, Option<Pause>) -> Result<(), Unswitched>,
) -> Result<Switched, Unswitched> {
    let asked =
        New { kind, projection: None, selection, by, idempotency_key, positions: None, selected: 0, rate: None };
    let mut db = Lent::by(pool).await?;
    let switched = switch_on(&mut db, &asked, work).await;
    db.give_back();
    let operation = switched?;
    kill_point!("stop.committed");
    // What the operation itself says: asked again with the same key, it is the same answer.
    let shown = super::get(pool, operation).await?.ok_or(sqlx::Error::RowNotFound)?;
    let seconds = shown.selection.0.get("seconds").and_then(serde_json::Value::as_u64);
    let stopped = (shown.kind == "stop").then(|| Pause {
        reason: shown.reason,
        actor: shown.actor,
        since: shown.created_at,
        until: seconds.map(|seconds| shown.created_at + TimeDelta::seconds(seconds as i64)),
    });
    Ok(Switched { stopped, operation })
}

async fn switch_on(
    db: &mut PgConnection,
    asked: &New<'_>,
    work: impl AsyncFnOnce(&mut PgConnection, Uuid, Option<Pause>) -> Result<(), Unswitched>,
) -> Result<Uuid, Unswitched> {
    let mut tx = db.begin().await?;
    sqlx::query!("select from operations_stop for no key update").execute(&mut *tx).await?;
    let before = standing(&mut *tx).await?;
    let id = match super::ask(&mut tx, asked).await? {
        Accepted::Before(id) => return Ok(id),
        Accepted::New(id) => id,
    };
    work(&mut tx, id, before).await?;
    super::done(&mut tx, id).await?;
    kill_point!("stop.recorded");
    tx.commit().await?;
    Ok(id)
}
