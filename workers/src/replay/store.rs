//! Replays as rows of `operations`.

use chrono::{DateTime, Utc};
use database::Lent;
use event_store::read;
use events::Position;
use read_model::AnyProjection;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use super::path::{FEW, Path};
use super::{Range, Selection};
use crate::apply::Tally;
use crate::audit::{self, Attribution};
use crate::operations::{self, Accepted, New, Rate};

/// Seconds without a sign of life after which another worker takes an operation over.
const CLAIM_VOID_AFTER_SECONDS: f64 = 30.0;

/// Positions gone through for a plan at most, and events of a time looked at, so that planning ends however large the store
/// is.
const COUNTED: i64 = 1_000_000;

/// What a replay would do.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[schema(as = ReplayPlan)]
pub struct Plan {
    /// Events of the projection's topics that the selection names.
    pub selected: i64,
    /// Those of them that are not settled: what the replay will apply, unless live delivery is first.
    pub unsettled: i64,
    pub first_position: i64,
    pub last_position: i64,
    /// Only the first million positions were gone through: there may be more.
    pub more: bool,
}

#[derive(Debug, Clone)]
pub struct NewReplay {
    pub selection: Selection,
    pub rate: Option<Rate>,
    pub by: Attribution,
    pub idempotency_key: Option<String>,
}

pub(super) struct Claim {
    pub id: Uuid,
    pub runner: Uuid,
    pub projection: String,
    pub selection: Selection,
    pub position: Position,
    pub upto: Position,
    /// Events a second at most.
    pub rate: Option<f64>,
}

/// What is wanted of a replay that was claimed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Wanted {
    /// It is no longer ours.
    TakenOver,
    /// All operations are stopped.
    Stopped,
    /// That it goes on, with so many events a second at most.
    On(Option<f64>),
}

impl Wanted {
    fn of(rate: Option<f64>, stopped: bool) -> Self {
        if stopped { Self::Stopped } else { Self::On(rate) }
    }
}

/// Counts what a replay would touch; writes nothing.
pub async fn plan(pool: &PgPool, projection: &dyn AnyProjection, selection: &Selection) -> sqlx::Result<Plan> {
    let head = read::head(pool).await?;
    let (mut after, mut upto) = (selection.after(), selection.upto(head));
    let path = Path::to(selection, after, upto, pool).await?;
    let (selected, unsettled, more) = if path == Path::Positions {
        if let Some(times) = selection.times.filter(|_| upto.0 - after.0 > FEW) {
            (after, upto) = bounded(pool, times, after, upto).await?;
        }
        let looked_at = Position(upto.0.min(after.0.saturating_add(COUNTED)));
        let (selected, unsettled) = count(pool, projection, selection, after, looked_at).await?;
        (selected, unsettled, looked_at < upto)
    } else {
        let topics = projection.topics();
        let found = path.page(pool, projection.name(), topics, selection, (after, upto), FEW + 1).await?;
        let unsettled = found.iter().filter(|selected| selected.unsettled).count();
        (found.len() as i64, unsettled as i64, false)
    };
    Ok(Plan { selected, unsettled, first_position: after.0 + 1, last_position: upto.0, more })
}

/// The part of a range of positions in which the events of a time lie. Where each lies the store is asked: they may be
/// recorded long after they occurred, or before the time at which they say that they did.
async fn bounded(
    pool: &PgPool,
    times: Range<DateTime<Utc>>,
    after: Position,
    upto: Position,
) -> sqlx::Result<(Position, Position)> {
    let found = sqlx::query_file!("src/replay/bounds.sql", times.from, times.to, COUNTED + 1).fetch_one(pool).await?;
    if found.count > COUNTED {
        return Ok((after, upto));
    }
    // Without any, the range is empty.
    let (first, last) = found.first.zip(found.last).unwrap_or((upto.0 + 1, upto.0));
    let after = after.max(Position(first - 1)).min(upto);
    Ok((after, upto.min(Position(last)).max(after)))
}

/// Counts in a range of positions what is selected, and what of it is unsettled.
async fn count(
    pool: &PgPool,
    projection: &dyn AnyProjection,
    selection: &Selection,
    after: Position,
    upto: Position,
) -> sqlx::Result<(i64, i64)> {
    let filter = selection.filter(projection.topics());
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
        times.and_then(|range| range.to)
    )
    .fetch_one(pool)
    .await?;
    Ok((counted.selected, counted.unsettled))
}

/// Writes the intention. The same idempotency key gives the same operation again.
pub async fn create(
    pool: &PgPool,
    projection: &dyn AnyProjection,
    plan: Plan,
    new: &NewReplay,
) -> Result<Uuid, operations::Refused> {
    let selection = serde_json::to_value(&new.selection).expect("a selection is an object of strings and numbers");
    let mut db = Lent::by(pool).await?;
    let mut tx = db.begin().await?;
    let asked = New {
        kind: "repair",
        projection: Some(projection.name()),
        selection: &selection,
        by: &new.by,
        idempotency_key: new.idempotency_key.as_deref(),
        positions: Some((plan.first_position - 1, plan.last_position)),
        selected: plan.selected,
        rate: new.rate,
    };
    let id = match operations::ask(&mut tx, &asked).await? {
        Accepted::Before(id) => return Ok(id),
        Accepted::New(id) => id,
    };
    let detail = json!({"projection": projection.name(), "selection": selection});
    audit::record(&mut tx, &new.by, "replay.create", id, &detail).await?;
    tx.commit().await?;
    db.give_back();
    Ok(id)
}

pub(super) async fn claim(pool: &PgPool, runner: Uuid, projections: &[&str]) -> sqlx::Result<Option<Claim>> {
    let row = sqlx::query_file!("src/replay/claim.sql", runner, projections as &[&str], CLAIM_VOID_AFTER_SECONDS)
        .fetch_optional(pool)
        .await?;
    Ok(row.map(|row| Claim {
        id: row.id,
        runner,
        projection: row.projection,
        selection: row.selection.0,
        position: Position(row.position),
        upto: Position(row.upto),
        rate: row.rate,
    }))
}

/// A step is done.
pub(super) async fn progress(
    pool: &PgPool,
    id: Uuid,
    runner: Uuid,
    position: Position,
    seen: u64,
    tally: Tally,
) -> sqlx::Result<Wanted> {
    let ours = sqlx::query!(
        r#"update operations
           set position = $3, seen = seen + $4, applied = applied + $5, parked = parked + $6,
               heartbeat_at = clock_timestamp(), advanced_at = clock_timestamp()
           where id = $1 and runner = $2
           returning
               case when coalesce(rate_until, 'infinity') > clock_timestamp() then rate end as rate,
               exists (select from operations_stop where stopped_until > clock_timestamp()) as "stopped!""#,
        id,
        runner,
        position.0,
        seen as i64,
        (tally.applied + tally.skipped) as i64,
        tally.parked as i64
    )
    .fetch_optional(pool);
    let ours = within_reason(ours).await?;
    Ok(ours.map_or(Wanted::TakenOver, |row| Wanted::of(row.rate, row.stopped)))
}

pub(super) async fn succeed(pool: &PgPool, id: Uuid, runner: Uuid) -> sqlx::Result<()> {
    let update = sqlx::query!(
        "update operations set state = 'succeeded', finished_at = clock_timestamp() where id = $1 and runner = $2",
        id,
        runner
    )
    .execute(pool);
    within_reason(update).await.map(drop)
}

/// Ends an operation that would fail again however often it is tried.
pub(super) async fn fail(pool: &PgPool, id: Uuid, runner: Uuid, error: &str) -> sqlx::Result<()> {
    let update = sqlx::query!(
        "update operations set state = 'failed', error = $3, finished_at = clock_timestamp()
         where id = $1 and runner = $2",
        id,
        runner,
        error
    )
    .execute(pool);
    within_reason(update).await.map(drop)
}

/// A sign of life, while a page takes long or it rests.
pub(super) async fn beat(pool: &PgPool, id: Uuid, runner: Uuid) -> sqlx::Result<Wanted> {
    let ours = sqlx::query!(
        r#"update operations set heartbeat_at = clock_timestamp()
           where id = $1 and runner = $2
           returning
               case when coalesce(rate_until, 'infinity') > clock_timestamp() then rate end as rate,
               exists (select from operations_stop where stopped_until > clock_timestamp()) as "stopped!""#,
        id,
        runner
    )
    .fetch_optional(pool);
    let ours = within_reason(ours).await?;
    Ok(ours.map_or(Wanted::TakenOver, |row| Wanted::of(row.rate, row.stopped)))
}

/// Gives it back; others come first.
pub(super) async fn release(pool: &PgPool, id: Uuid, runner: Uuid) -> sqlx::Result<()> {
    let update = sqlx::query!(
        "update operations set state = 'pending', runner = null, heartbeat_at = clock_timestamp()
         where id = $1 and runner = $2",
        id,
        runner
    )
    .execute(pool);
    within_reason(update).await.map(drop)
}

/// Gives it back if another waits that nobody runs; whether it did.
pub(super) async fn give_way(pool: &PgPool, id: Uuid, runner: Uuid, projections: &[&str]) -> sqlx::Result<bool> {
    let gave = sqlx::query!(
        "update operations set state = 'pending', runner = null, heartbeat_at = clock_timestamp()
         where id = $1 and runner = $2
         and exists (
             select from operations as waiting
             where waiting.kind = 'repair' and waiting.state = 'pending' and waiting.projection = any($3)
         )",
        id,
        runner,
        projections as &[&str]
    );
    Ok(within_reason(gave.execute(pool)).await?.rows_affected() == 1)
}

/// What a replay asks between its steps.
async fn within_reason<T>(asking: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    database::with_deadline("keeping a replay", asking).await
}
