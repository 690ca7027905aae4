//! Operations: what a person asked for and a worker does. The API writes the intention, with its reason and its actor;
//! workers make it true, and go on where another stopped.

pub mod rate;
pub(crate) mod stalled;
pub mod stop;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

pub use rate::{Rate, SECONDS as RATE_SECONDS};
pub use stalled::Stalled;

use crate::apply::Tally;
use crate::audit::Attribution;

/// An operation as `GET /admin/v1/operations/{id}` shows it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Operation {
    pub id: Uuid,
    /// repair (a replay); retry, discard (of dead letters); pause, resume (of a projection); rebuild, verify, as_of, promote,
    /// rollback, retire (of generations); rate (of another operation); stop, go_on (of all of them).
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
    /// Events a second at most: of a retry, of each worker; else of all who work on it together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// By the database's clock: then the rate falls away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_until: Option<DateTime<Utc>>,
    /// What a verification has found; of a promote and a rollback, `held_up_ms`: for how long nobody could write to the
    /// projection, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub result: Option<Json<Value>>,
    pub error: Option<String>,
    /// Why nobody goes on with it: a projection is paused, or all operations are stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    /// It waits for nobody, and no step of it was done for a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled: Option<Stalled>,
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
    pub rate: Option<Rate>,
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
             id, kind, projection, selection, reason, actor, idempotency_key, position, upto, selected, rate, rate_until,
             traceparent
         )
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, clock_timestamp() + make_interval(secs => $12), $13)",
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
        new.rate.map(|rate| rate.events),
        new.rate.and_then(|rate| rate.seconds).map(f64::from),
        traces::current().map(|trace| trace.to_string())
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

/// # Errors
/// The database's.
pub async fn get(pool: &PgPool, id: Uuid) -> sqlx::Result<Option<Operation>> {
    get_on(&mut *pool.acquire().await?, id).await
}

pub(crate) async fn get_on(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Operation>> {
    Ok(shown(db, Some(&[id]), None, 1).await?.pop())
}

/// The newest first; `before` is the id of the last one seen.
///
/// # Errors
/// The database's.
pub async fn list(pool: &PgPool, before: Option<Uuid>, limit: i64) -> sqlx::Result<Vec<Operation>> {
    shown(&mut *pool.acquire().await?, None, before, limit).await
}

/// Those that are not over; the newest first.
///
/// # Errors
/// The database's.
pub async fn unfinished(pool: &PgPool, limit: i64) -> sqlx::Result<Vec<Operation>> {
    let mut db = pool.acquire().await?;
    let ids = sqlx::query_scalar!(
        "select id from operations
         where state in ('pending', 'running', 'paused', 'waiting')
         order by id desc
         limit $1",
        limit
    );
    let ids = ids.fetch_all(&mut *db).await?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    shown(&mut db, Some(&ids), None, limit).await
}

/// What the database has of an operation.
struct Row {
    id: Uuid,
    kind: String,
    projection: Option<String>,
    generation: Option<i32>,
    selection: Json<Value>,
    state: State,
    reason: String,
    actor: String,
    position: Option<i64>,
    last_position: Option<i64>,
    selected: i64,
    seen: i64,
    applied: i64,
    parked: i64,
    rate: Option<f64>,
    rate_until: Option<DateTime<Utc>>,
    result: Option<Json<Value>>,
    error: Option<String>,
    waits: Option<String>,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    heartbeat_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    /// When a step of it was done last, or could have been for the first time; only of one that is to be worked on.
    step_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
}

async fn shown(
    db: &mut PgConnection,
    ids: Option<&[Uuid]>,
    before: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<Operation>> {
    let rows = sqlx::query_file_as!(Row, "src/operations/list.sql", ids, before, limit).fetch_all(&mut *db).await?;
    let still = rows.iter().filter(|row| row.waits.is_none());
    let still: Vec<_> = still.filter(|row| stalled::is_long(row.step_at, row.now)).map(|row| row.id).collect();
    let mut stalled = stalled::look(db, &still).await?;
    let operation = |row: Row| Operation {
        stalled: stalled.remove(&row.id).zip(row.step_at).map(|(reason, since)| Stalled {
            since,
            seconds: (row.now - since).as_seconds_f64(),
            reason,
        }),
        id: row.id,
        kind: row.kind,
        projection: row.projection,
        selection: row.selection,
        state: row.state,
        reason: row.reason,
        actor: row.actor,
        generation: row.generation,
        position: row.position,
        last_position: row.last_position,
        selected: row.selected,
        seen: row.seen,
        applied: row.applied,
        parked: row.parked,
        rate: row.rate,
        rate_until: row.rate_until,
        result: row.result,
        error: row.error,
        waits: row.waits,
        created_at: row.created_at,
        started_at: row.started_at,
        heartbeat_at: row.heartbeat_at,
        finished_at: row.finished_at,
    };
    Ok(rows.into_iter().map(operation).collect())
}

/// A step of work on dead letters, recorded in its transaction: `seen` of them are done with.
pub(crate) async fn advance(db: &mut PgConnection, id: Uuid, seen: i64, tally: Tally) -> sqlx::Result<()> {
    sqlx::query!(
        "update operations
         set state = 'running', started_at = coalesce(started_at, clock_timestamp()), heartbeat_at = clock_timestamp(),
             advanced_at = clock_timestamp(), seen = least(seen + $2, selected), applied = applied + $3, parked = parked + $4
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

/// Ends the operations on dead letters that have nothing left to do: what was decided about a generation that nobody keeps any
/// more, nobody can do. Idempotent: any process may mark an operation that has finished.
///
/// What is parked again has no decision from then on, and is counted a moment later: until then it is not over. A retry
/// after which something is parked has failed, be it that or what waited behind it; a discard has not.
pub(crate) async fn finish(pool: &PgPool) -> sqlx::Result<()> {
    sqlx::query_file!("src/operations/finish.sql").execute(pool).await.map(drop)
}
