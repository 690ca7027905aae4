//! Operations: what a person asked for and a worker does. The API writes the intention, with its reason and its actor;
//! workers make it true, and go on where another stopped.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::apply::Tally;
use crate::audit::Attribution;

/// An operation as `GET /admin/v1/operations/{id}` shows it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Operation {
    pub id: Uuid,
    /// repair (a replay); retry, discard (of dead letters); pause, resume (of a projection); rebuild, verify, promote, rollback,
    /// retire (of generations).
    pub kind: String,
    /// The one projection of a repair; dead letters may be of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projection: Option<String>,
    /// What was selected, as it was asked for.
    #[schema(value_type = Object)]
    pub selection: Json<Value>,
    pub state: State,
    pub reason: String,
    pub actor: String,
    /// The generation that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i32>,
    /// Of a repair: everything of the selection up to here is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_position: Option<i64>,
    /// Events, or dead letters, that the selection named when the operation was asked for.
    pub selected: i64,
    /// How many of them have been gone through.
    pub seen: i64,
    /// Events applied; those that waited behind a dead letter count too.
    pub applied: i64,
    /// Events parked, also those that were parked before.
    pub parked: i64,
    /// Events a second at most, of each worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// What a verification has found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub result: Option<Json<Value>>,
    pub error: Option<String>,
    /// Why nobody goes on with it: a projection is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub heartbeat_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, ToSchema)]
#[schema(as = OperationState)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum State {
    /// No worker has it.
    Pending,
    Running,
    /// Until somebody resumes it.
    Paused,
    /// For a person: it has done what it can do alone.
    Waiting,
    /// Everything that was selected was gone through.
    Succeeded,
    /// It would fail again, and says why in `error`.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Waiting => "waiting",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What is asked for.
pub(crate) struct New<'a> {
    pub kind: &'static str,
    pub projection: Option<&'a str>,
    pub selection: &'a Value,
    pub by: &'a Attribution,
    /// One key, one operation: asked for again with the same key, it is the one that is there.
    pub idempotency_key: Option<&'a str>,
    /// Of a repair: everything up to the one is done, and the other is the last.
    pub positions: Option<(i64, i64)>,
    pub selected: i64,
    pub rate: Option<f64>,
}

pub(crate) enum Accepted {
    New(Uuid),
    /// The same was asked for before, with the same key.
    Before(Uuid),
}

#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("the Idempotency-Key was used for another request: operation {0}")]
    KeyReused(Uuid),
}

/// Writes the intention, unless the same was asked for before.
pub(crate) async fn ask(db: &mut PgConnection, new: &New<'_>) -> Result<Accepted, Refused> {
    match before(&mut *db, new).await? {
        Some(before) => Ok(Accepted::Before(before)),
        None => Ok(Accepted::New(insert(db, new).await?)),
    }
}

/// What was asked for with the same key. Locks the key, if there is one, to the end of the transaction: who asks with it at
/// the same time waits, and finds this operation or none.
pub(crate) async fn before(db: &mut PgConnection, new: &New<'_>) -> Result<Option<Uuid>, Refused> {
    if let Some(key) = new.idempotency_key {
        sqlx::query!("select pg_advisory_xact_lock(hashtextextended($1, 0))", key).execute(&mut *db).await?;
        let before =
            sqlx::query!("select id, kind, projection, selection from operations where idempotency_key = $1", key);
        if let Some(before) = before.fetch_optional(&mut *db).await? {
            let same = (&*before.kind, before.projection.as_deref(), &before.selection)
                == (new.kind, new.projection, new.selection);
            return if same { Ok(Some(before.id)) } else { Err(Refused::KeyReused(before.id)) };
        }
    }
    Ok(None)
}

/// Writes the intention.
pub(crate) async fn insert(db: &mut PgConnection, new: &New<'_>) -> sqlx::Result<Uuid> {
    let id = Uuid::now_v7();
    sqlx::query!(
        "insert into operations (
             id, kind, projection, selection, reason, actor, idempotency_key, position, upto, selected, rate
         )
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        id,
        new.kind,
        new.projection,
        new.selection,
        new.by.reason,
        new.by.actor,
        new.idempotency_key,
        new.positions.map(|(position, _)| position),
        new.positions.map(|(_, upto)| upto),
        new.selected,
        new.rate
    )
    .execute(db)
    .await?;
    Ok(id)
}

/// The generation that it is about.
pub(crate) async fn of_generation(db: &mut PgConnection, id: Uuid, generation: i32) -> sqlx::Result<()> {
    sqlx::query!("update operations set generation = $2 where id = $1", id, generation).execute(db).await.map(drop)
}

/// How many dead letters were decided about, which is known when they are locked.
pub(crate) async fn selects(db: &mut PgConnection, id: Uuid, selected: i64) -> sqlx::Result<()> {
    sqlx::query!("update operations set selected = $2 where id = $1", id, selected).execute(db).await.map(drop)
}

/// What was asked for is done in the transaction in which it was asked.
pub(crate) async fn done(db: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "update operations
         set state = 'succeeded', started_at = created_at, finished_at = clock_timestamp()
         where id = $1",
        id
    )
    .execute(db)
    .await
    .map(drop)
}

pub async fn get(pool: &PgPool, id: Uuid) -> sqlx::Result<Option<Operation>> {
    sqlx::query_file_as!(Operation, "src/operations/list.sql", Some(id), None::<Uuid>, 1).fetch_optional(pool).await
}

/// The newest first; `before` is the id of the last one seen.
pub async fn list(pool: &PgPool, before: Option<Uuid>, limit: i64) -> sqlx::Result<Vec<Operation>> {
    sqlx::query_file_as!(Operation, "src/operations/list.sql", None::<Uuid>, before, limit).fetch_all(pool).await
}

/// A step of work on dead letters, recorded in its transaction: `seen` of them are done with.
pub(crate) async fn advance(db: &mut PgConnection, id: Uuid, seen: i64, tally: Tally) -> sqlx::Result<()> {
    sqlx::query!(
        "update operations
         set state = 'running', started_at = coalesce(started_at, clock_timestamp()), heartbeat_at = clock_timestamp(),
             seen = least(seen + $2, selected), applied = applied + $3, parked = parked + $4
         where id = $1",
        id,
        seen,
        (tally.applied + tally.skipped) as i64,
        tally.parked as i64
    )
    .execute(db)
    .await
    .map(drop)
}

/// Ends the operations on dead letters that have nothing left to do. Idempotent: any process may
/// mark an operation that has finished.
pub(crate) async fn finish(pool: &PgPool) -> sqlx::Result<()> {
    sqlx::query!(
        "update operations
         set state = 'succeeded', finished_at = clock_timestamp()
         where kind in ('retry', 'discard')
         and state in ('pending', 'running')
         and not exists (select from parked_events where operation_id = operations.id and decision is not null)"
    )
    .execute(pool)
    .await
    .map(drop)
}
