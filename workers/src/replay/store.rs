//! The rows of `operations`.

use chrono::{DateTime, Utc};
use event_store::read;
use events::Position;
use projections::AnyProjection;
use serde::Serialize;
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;

use super::Selection;
use crate::apply::Tally;

/// Seconds without a sign of life after which another worker takes an operation over.
const SILENCE: f64 = 30.0;

/// Events counted for a plan at most, so that planning ends however large the store is.
const COUNTED: i64 = 1_000_000;

/// What a replay would do.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Plan {
    /// Events of the projection's topic that the selection names. Counted up to a million; that means so many or more.
    pub selected: i64,
    /// Those of them that are not settled: what the replay will apply, unless live delivery is first.
    pub unsettled: i64,
    pub first_position: i64,
    pub last_position: i64,
}

#[derive(Debug, Clone)]
pub struct NewReplay {
    pub selection: Selection,
    pub reason: String,
    pub actor: String,
    pub idempotency_key: Option<String>,
}

/// An operation as `GET /admin/v1/operations/{id}` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Operation {
    pub id: Uuid,
    pub kind: String,
    pub projection: String,
    pub selection: Json<Selection>,
    /// pending, running, succeeded, failed.
    pub state: String,
    pub reason: String,
    pub actor: String,
    /// Everything of the selection up to here is done.
    pub position: i64,
    pub last_position: i64,
    /// Events that the selection named when the replay was asked for.
    pub selected: i64,
    /// Events of the selection gone through so far.
    pub seen: i64,
    pub applied: i64,
    pub parked: i64,
    pub error: Option<String>,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub heartbeat_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

pub(super) struct Claim {
    pub id: Uuid,
    pub projection: String,
    pub selection: Selection,
    pub position: Position,
    pub upto: Position,
}

/// Counts what a replay would touch; writes nothing.
pub async fn plan(pool: &PgPool, projection: &dyn AnyProjection, selection: &Selection) -> sqlx::Result<Plan> {
    let head = read::head(pool).await?;
    let (after, upto) = (selection.after(), selection.upto(head));
    let filter = selection.filter(projection.topic());
    let aggregates: Vec<_> = filter.aggregate_ids.iter().map(|id| id.0).collect();
    let times = selection.times;
    let counted = sqlx::query_file!(
        "src/replay/plan.sql",
        projection.name(),
        after.0,
        upto.0,
        &filter.aggregate_types,
        &filter.event_types,
        &aggregates,
        times.and_then(|range| range.from),
        times.and_then(|range| range.to),
        COUNTED
    )
    .fetch_one(pool)
    .await?;
    Ok(Plan {
        selected: counted.selected,
        unsettled: counted.unsettled,
        first_position: after.0 + 1,
        last_position: upto.0,
    })
}

/// Writes the intention. The same idempotency key gives the same operation again.
pub async fn create(pool: &PgPool, projection: &dyn AnyProjection, plan: Plan, new: &NewReplay) -> sqlx::Result<Uuid> {
    sqlx::query_scalar!(
        "insert into operations (
             id, kind, projection, selection, reason, actor, idempotency_key, position, upto, selected
         )
         values ($1, 'repair', $2, $3, $4, $5, $6, $7, $8, $9)
         on conflict (idempotency_key) do update set idempotency_key = excluded.idempotency_key
         returning id",
        Uuid::now_v7(),
        projection.name(),
        Json(&new.selection) as _,
        new.reason,
        new.actor,
        new.idempotency_key,
        plan.first_position - 1,
        plan.last_position,
        plan.selected
    )
    .fetch_one(pool)
    .await
}

pub async fn get(pool: &PgPool, id: Uuid) -> sqlx::Result<Option<Operation>> {
    sqlx::query_file_as!(Operation, "src/replay/operations.sql", Some(id), 1).fetch_optional(pool).await
}

/// The newest operations first.
pub async fn list(pool: &PgPool, limit: i64) -> sqlx::Result<Vec<Operation>> {
    sqlx::query_file_as!(Operation, "src/replay/operations.sql", None::<Uuid>, limit).fetch_all(pool).await
}

pub(super) async fn claim(pool: &PgPool, runner: Uuid, projections: &[&str]) -> sqlx::Result<Option<Claim>> {
    let row =
        sqlx::query_file!("src/replay/claim.sql", runner, projections as &[&str], SILENCE).fetch_optional(pool).await?;
    Ok(row.map(|row| Claim {
        id: row.id,
        projection: row.projection,
        selection: row.selection.0,
        position: Position(row.position),
        upto: Position(row.upto),
    }))
}

/// `false` if the operation is no longer ours.
pub(super) async fn progress(
    pool: &PgPool,
    id: Uuid,
    runner: Uuid,
    position: Position,
    seen: u64,
    tally: Tally,
) -> sqlx::Result<bool> {
    let ours = sqlx::query!(
        "update operations
         set position = $3, seen = seen + $4, applied = applied + $5, parked = parked + $6,
             heartbeat_at = clock_timestamp()
         where id = $1 and runner = $2",
        id,
        runner,
        position.0,
        seen as i64,
        (tally.applied + tally.skipped) as i64,
        tally.parked as i64
    )
    .execute(pool)
    .await?;
    Ok(ours.rows_affected() == 1)
}

pub(super) async fn succeed(pool: &PgPool, id: Uuid, runner: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "update operations set state = 'succeeded', finished_at = clock_timestamp() where id = $1 and runner = $2",
        id,
        runner
    )
    .execute(pool)
    .await
    .map(drop)
}

/// Ends an operation that would fail again however often it is tried.
pub(super) async fn fail(pool: &PgPool, id: Uuid, runner: Uuid, error: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "update operations set state = 'failed', error = $3, finished_at = clock_timestamp()
         where id = $1 and runner = $2",
        id,
        runner,
        error
    )
    .execute(pool)
    .await
    .map(drop)
}

pub(super) async fn release(pool: &PgPool, id: Uuid, runner: Uuid) -> sqlx::Result<()> {
    sqlx::query!("update operations set state = 'pending', runner = null where id = $1 and runner = $2", id, runner)
        .execute(pool)
        .await
        .map(drop)
}
