//! Rebuilds: what a person asks for, and how far it is. A row of `operations` says what is wanted; the worker that begins makes
//! the generation, and from then on its parts say how far they are.

use database::Lent;
use kill_points::kill_point;
use read_model::AnyProjection;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{as_owner, busy, create, schema_of};
use crate::apply::Applier;
use crate::audit::{self, Attribution};
use crate::operations::stalled::INDEXING;
use crate::operations::{self, New, Rate, State};

/// What a rebuild would do. It touches nothing.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = RebuildPlan)]
pub struct Plan {
    pub projection: String,
    /// The generation that would be built, and the version of the code that would build it.
    pub generation: i32,
    pub version: i32,
    pub live_generation: i32,
    pub live_version: i32,
    /// Positions of the store that would be gone through.
    pub positions: i64,
    /// The tables as they are now, with their indexes: about as much will be written beside them.
    pub tables: Vec<Table>,
    /// From the rate of the last rebuild of this projection, and the one that is asked for; absent: there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_seconds: Option<f64>,
    /// Why it would be refused now.
    pub conflicts: Vec<String>,
    /// The rebuild that is under way, and the version of the code that it is of.
    #[serde(skip)]
    #[schema(ignore)]
    pub under_way: Option<(Uuid, i32)>,
    /// To be sent with the request that starts it.
    pub plan_token: String,
    /// Of so many positions the last rebuild had an event that is the projection's own.
    #[serde(skip, default = "all")]
    #[schema(ignore)]
    pub share: f64,
}

fn all() -> f64 {
    1.0
}

impl Plan {
    /// If it may go so fast only, for as long as that holds.
    #[must_use]
    pub fn at(self, limit: Rate) -> Self {
        let positions = self.positions as f64;
        let last = self.estimated_seconds.filter(|seconds| *seconds > 0.0).map(|seconds| positions / seconds);
        // A rate is of events that are its own.
        let fastest = limit.events / self.share;
        let slow = last.map_or(fastest, |last| last.min(fastest));
        let limited = limit.seconds.map_or(f64::INFINITY, f64::from);
        let estimated_seconds = if positions <= slow * limited {
            Some(positions / slow)
        } else {
            last.map(|last| limited + (positions - slow * limited) / last)
        };
        Self { estimated_seconds, ..self }
    }
}

/// A table of a live generation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = RebuildTable)]
pub struct Table {
    pub name: String,
    /// As Postgres estimates them.
    pub rows: i64,
    pub bytes: i64,
}

/// A rebuild that is asked for.
#[derive(Debug, Clone)]
pub struct NewRebuild {
    pub parts: i32,
    /// Of all parts together.
    pub rate: Option<Rate>,
    pub plan_token: String,
    pub by: Attribution,
    pub idempotency_key: Option<String>,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Operation(#[from] operations::Refused),
    #[error("projection {0} has no generation yet: run `fleet migrate`")]
    Missing(String),
    #[error("projection {0} has no generation {1}")]
    Unknown(String, i32),
    #[error("it is not what was planned any more: plan again")]
    StalePlan,
    #[error("{} of it is under way: operation {operation}", one_of(.kind))]
    UnderWay { kind: &'static str, operation: Uuid },
    #[error("{0}")]
    Impossible(String),
    #[error("there is no operation {0}")]
    NoOperation(Uuid),
}

pub(super) fn conflict(kind: &'static str, operation: Uuid) -> String {
    Refused::UnderWay { kind, operation }.to_string()
}

fn one_of(kind: &str) -> &'static str {
    match kind {
        "verify" => "a verification",
        "as_of" => "a generation as of a past position",
        _ => "a rebuild",
    }
}

/// What a rebuild would do now.
///
/// # Errors
/// The projection has no generation yet, or the database does not answer.
pub async fn plan(pool: &PgPool, projection: &dyn AnyProjection) -> Result<Plan, Refused> {
    plan_on(&mut *pool.acquire().await?, projection).await
}

async fn plan_on(db: &mut PgConnection, projection: &dyn AnyProjection) -> Result<Plan, Refused> {
    let name = projection.name();
    let stands = sqlx::query_file!("src/generations/plan.sql", name).fetch_optional(&mut *db).await?;
    let stands = stands.ok_or_else(|| Refused::Missing(name.to_owned()))?;
    let tables = sizes(&mut *db, &stands.schema_name).await?;
    let share = share(db, projection).await?;
    Ok(Plan {
        projection: name.to_owned(),
        generation: stands.next,
        version: projection.version() as i32,
        live_generation: stands.generation,
        live_version: stands.version,
        positions: stands.head,
        tables,
        estimated_seconds: stands.rate.filter(|rate| *rate > 0.0).map(|rate| stands.head as f64 / rate),
        conflicts: stands.under_way.into_iter().map(|operation| conflict("rebuild", operation)).collect(),
        under_way: stands.under_way.zip(stands.under_way_version),
        share: share.unwrap_or_else(all),
        plan_token: format!("{name}.{}.{}.{}", stands.generation, stands.next, projection.version()),
    })
}

/// Of the events of the store, those that are of the projection's aggregate types; `None`: Postgres has not counted them yet.
pub(super) async fn share(db: &mut PgConnection, projection: &dyn AnyProjection) -> sqlx::Result<Option<f64>> {
    let types: Vec<_> = projection.topics().iter().flat_map(|topic| topic.aggregate_types).copied().collect();
    let share = sqlx::query_file_scalar!("src/generations/share.sql", &types as &[&str]).fetch_one(db).await?;
    Ok(share.filter(|share| *share > 0.0).map(|share| share.min(1.0)))
}

/// The tables of a generation, with their rows and bytes.
pub(super) async fn sizes(db: &mut PgConnection, schema: &str) -> sqlx::Result<Vec<Table>> {
    sqlx::query_file_as!(Table, "src/generations/sizes.sql", schema).fetch_all(db).await
}

/// Writes down that a rebuild is wanted. A worker begins it.
///
/// # Errors
/// Another is under way, the plan is of another state, or the key was used for something else.
pub async fn ask(pool: &PgPool, projection: &dyn AnyProjection, new: &NewRebuild) -> Result<Uuid, Refused> {
    let mut db = Lent::by(pool).await?;
    let asked = ask_on(&mut db, projection, new).await;
    db.give_back();
    asked
}

async fn ask_on(db: &mut PgConnection, projection: &dyn AnyProjection, new: &NewRebuild) -> Result<Uuid, Refused> {
    let name = projection.name();
    let selection = json!({"parts": new.parts, "version": projection.version(), "plan_token": new.plan_token});
    let mut tx = db.begin().await?;
    // Whoever asks at the same time waits here, and finds this one.
    let live = sqlx::query_scalar!("select generation from projections where name = $1 for no key update", name);
    if live.fetch_optional(&mut *tx).await?.is_none() {
        return Err(Refused::Missing(name.to_owned()));
    }
    let asked = New {
        kind: "rebuild",
        projection: Some(name),
        selection: &selection,
        by: &new.by,
        idempotency_key: new.idempotency_key.as_deref(),
        positions: None,
        selected: 0,
        rate: new.rate,
    };
    if let Some(before) = operations::before(&mut tx, &asked).await? {
        return Ok(before);
    }
    free(&mut tx, "rebuild", name).await?;
    if plan_on(&mut tx, projection).await?.plan_token != new.plan_token {
        return Err(Refused::StalePlan);
    }
    let id = operations::insert(&mut tx, &asked).await?;
    audit::record(&mut tx, &new.by, "rebuild.start", id, &json!({"projection": name, "selection": selection})).await?;
    tx.commit().await?;
    Ok(id)
}

/// Refuses a second one of a kind of which a projection has one at a time.
pub(super) async fn free(db: &mut PgConnection, kind: &'static str, projection: &str) -> Result<(), Refused> {
    match under_way(db, kind, projection).await? {
        Some(operation) => Err(Refused::UnderWay { kind, operation }),
        None => Ok(()),
    }
}

pub(super) async fn under_way(db: &mut PgConnection, kind: &str, projection: &str) -> sqlx::Result<Option<Uuid>> {
    let open = sqlx::query_scalar!(
        "select id from operations
         where kind = $1 and kind in ('rebuild', 'verify', 'as_of') and projection = $2
         and state in ('pending', 'running', 'paused', 'waiting')",
        kind,
        projection
    );
    open.fetch_optional(db).await
}

/// Kinds that can be paused and go on; and with those that can be ended before they are through.
const PAUSED: &[&str] = &["rebuild", "verify", "as_of"];
const CANCELLED: &[&str] = &["rebuild", "verify", "as_of", "repair", "promote", "rollback", "retire"];

/// Stops a rebuild until it is resumed. It holds what it has.
///
/// # Errors
/// There is no such operation, or it is none that can be paused now.
pub async fn pause(pool: &PgPool, id: Uuid, by: &Attribution) -> Result<(), Refused> {
    change(pool, id, by, "operation.pause", (PAUSED, &["pending", "running", "waiting"], State::Paused)).await
}

/// Lets it go on.
///
/// # Errors
/// There is no such operation, or it is not paused.
pub async fn resume(pool: &PgPool, id: Uuid, by: &Attribution) -> Result<(), Refused> {
    change(pool, id, by, "operation.resume", (PAUSED, &["paused"], State::Running)).await
}

/// Ends an operation that is not through: what a rebuild or a verification has built is dropped, what a repair has applied stays, and
/// what is done in one transaction, as a promote is, is not done.
///
/// # Errors
/// There is no such operation, or it has ended.
pub async fn cancel(pool: &PgPool, id: Uuid, by: &Attribution) -> Result<(), Refused> {
    let open = &["pending", "running", "paused", "waiting"];
    change(pool, id, by, "operation.cancel", (CANCELLED, open, State::Cancelled)).await
}

/// Of which kinds, from which states, to which.
type Change = (&'static [&'static str], &'static [&'static str], State);

async fn change(pool: &PgPool, id: Uuid, by: &Attribution, action: &str, change: Change) -> Result<(), Refused> {
    let mut db = Lent::by(pool).await?;
    let changed = change_on(&mut db, id, by, action, change).await;
    db.give_back();
    changed
}

async fn change_on(
    db: &mut PgConnection,
    id: Uuid,
    by: &Attribution,
    action: &str,
    (kinds, from, to): Change,
) -> Result<(), Refused> {
    let mut tx = db.begin().await?;
    let now = sqlx::query!(
        r#"select kind, state as "state: State", generation from operations where id = $1 for no key update"#,
        id
    );
    let now = now.fetch_optional(&mut *tx).await?.ok_or(Refused::NoOperation(id))?;
    if !kinds.contains(&&*now.kind) {
        let (kind, can_be) = (now.kind, if to == State::Cancelled { "cancelled" } else { "paused and resumed" });
        return Err(Refused::Impossible(format!("this is a {kind}: what can be {can_be} is {}", kinds.join(", "))));
    }
    if now.state == to {
        return Ok(());
    }
    if !from.contains(&now.state.as_str()) {
        return Err(Refused::Impossible(format!("it is {}", now.state.as_str())));
    }
    // Nothing was begun yet: it begins when it is resumed.
    let to = if to == State::Running && now.generation.is_none() { State::Pending } else { to };
    sqlx::query!(
        "update operations
         set state = $2, finished_at = case when $2 = 'cancelled' then clock_timestamp() end,
             runner = case when $2 <> 'cancelled' then runner end, advanced_at = clock_timestamp()
         where id = $1",
        id,
        to.as_str()
    )
    .execute(&mut *tx)
    .await?;
    audit::record(&mut tx, by, action, id, &json!({"from": now.state, "to": to})).await?;
    tx.commit().await?;
    Ok(())
}

/// Begins what of these kinds was asked for, if there is something and this is its code.
pub(super) async fn begin(applier: &Applier, kinds: &[&str]) -> sqlx::Result<()> {
    let (name, version) = (applier.projection.name(), applier.projection.version() as i32);
    let pending = sqlx::query!(
        r#"select id, kind, (selection ->> 'parts')::integer as "parts!"
           from operations
           where kind in ('rebuild', 'verify', 'as_of') and projection = $1 and state = 'pending'
           and (selection ->> 'version')::integer = $2 and kind = any($3)
           and not exists (select from operations_stop where stopped_until > clock_timestamp())
           order by created_at
           limit 1"#,
        name,
        version,
        kinds as &[&str]
    );
    let Some(pending) = pending.fetch_optional(&applier.pool).await? else { return Ok(()) };
    let mut db = Lent::by(&applier.pool).await?;
    let mut tx = db.begin().await?;
    let ours = sqlx::query_scalar!(
        "select id from operations where id = $1 and state = 'pending' for no key update skip locked",
        pending.id
    );
    if ours.fetch_optional(&mut *tx).await?.is_none() {
        return Ok(());
    }
    let generation =
        sqlx::query_scalar!(r#"select max(generation) + 1 as "next!" from generations where projection = $1"#, name);
    let generation = generation.fetch_one(&mut *tx).await?;
    let schema = schema_of(name, generation);
    sqlx::query!(
        "insert into generations (projection, generation, version, schema_name, operation_id, purpose, upto)
         values ($1, $2, $3, $4, $5, $6, case when $6 = 'verify' then (
             select min(progress.settled_position)
             from projection_progress as progress
             join projections as live on live.name = progress.projection and live.generation = progress.generation
             where live.name = $1
         ) when $6 = 'as_of' then (select upto from operations where id = $5) end)",
        name,
        generation,
        version,
        schema,
        pending.id,
        pending.kind
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "insert into generation_parts (projection, generation, part, parts)
         select $1, $2, part, $3 from generate_series(0, $3 - 1) as part",
        name,
        generation,
        pending.parts
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "update operations
         set state = 'running', generation = $2, started_at = clock_timestamp(), heartbeat_at = clock_timestamp(),
             position = 0, upto = coalesce(
                 (select upto from generations where projection = $3 and generation = $2),
                 (select max(position) from events),
                 0
             )
         where id = $1",
        pending.id,
        generation,
        name
    )
    .execute(&mut *tx)
    .await?;
    let mut making = tx.begin().await?;
    if let Err(error) = create(&mut making, name, &schema, applier.projection.tables()).await {
        if database::is_transient(&error) {
            return Err(error);
        }
        making.rollback().await?;
        tx.rollback().await?;
        fail(&mut db, pending.id, &database::describe(&error)).await?;
        db.give_back();
        return Ok(());
    }
    making.commit().await?;
    kill_point!("rebuild.created");
    tx.commit().await?;
    db.give_back();
    kill_point!("rebuild.begun");
    let (operation, parts) = (pending.id, pending.parts);
    if pending.kind == "verify" {
        tracing::info!(%operation, projection = name, generation, parts, "verify: comparing, in tables that go afterwards");
    } else {
        tracing::info!(%operation, projection = name, generation, parts, "rebuild: building");
    }
    Ok(())
}

/// Ends the bulk, if all parts have what was in the store when it began: makes the indexes, and has Postgres look at the
/// tables. From then on the generation follows the store.
pub(super) async fn finish(applier: &Applier, reading: &PgPool, generation: i32) -> sqlx::Result<()> {
    let name = applier.projection.name();
    let mut db = Lent::by(&applier.pool).await?;
    let mut tx = db.begin().await?;
    let built = sqlx::query_file!("src/generations/built.sql", name, generation).fetch_optional(&mut *tx).await?;
    let Some(built) = built else {
        tx.rollback().await?;
        db.give_back();
        return Ok(());
    };
    // Not of the pool of which this holds a connection: others may hold the rest of it, and want the same.
    busy(reading, name, generation, INDEXING).await?;
    // An index of a large table takes longer than any statement that others wait for.
    sqlx::raw_sql("set local statement_timeout = '2h'; set local lock_timeout = '10s'").execute(&mut *tx).await?;
    let mut making = tx.begin().await?;
    if let Err(error) = sqlx::raw_sql(AssertSqlSafe(applier.projection.indexes())).execute(&mut *making).await {
        if database::is_transient(&error) {
            return Err(error);
        }
        making.rollback().await?;
        tx.rollback().await?;
        if let Some(operation) = built.operation_id {
            fail(&mut db, operation, &format!("making the indexes: {}", database::describe(&error))).await?;
        }
        db.give_back();
        return Ok(());
    }
    making.commit().await?;
    for table in built.tables {
        sqlx::raw_sql(AssertSqlSafe(format!("analyze {table}"))).execute(&mut *tx).await?;
    }
    sqlx::query!(
        "update generations set built_at = clock_timestamp() where projection = $1 and generation = $2",
        name,
        generation
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "update generation_parts set pace = '' where projection = $1 and generation = $2 and pace <> ''",
        name,
        generation
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "update operations
         set state = case kind when 'as_of' then 'succeeded' else 'waiting' end, heartbeat_at = clock_timestamp(),
             finished_at = case kind when 'as_of' then clock_timestamp() end
         where id = $1 and state = 'running'",
        built.operation_id
    )
    .execute(&mut *tx)
    .await?;
    if built.as_of {
        // Nobody writes to it any more, this user included.
        let schema = &built.schema_name;
        let only_read = format!(
            "revoke insert, update, delete, truncate on all tables in schema {schema} from public, current_user"
        );
        as_owner(&mut tx, name, &[&only_read]).await?;
    }
    kill_point!("rebuild.indexed");
    tx.commit().await?;
    db.give_back();
    kill_point!("rebuild.built");
    if built.as_of {
        tracing::info!(projection = name, generation, "as of a past position: built; it is there to be looked at");
    } else {
        tracing::info!(projection = name, generation, "rebuild: built; it follows the store and waits to be promoted");
    }
    Ok(())
}

/// It would fail again.
async fn fail(db: &mut PgConnection, operation: Uuid, error: &str) -> sqlx::Result<()> {
    tracing::error!(%operation, error, "failed");
    sqlx::query!(
        "update operations set state = 'failed', error = $2, finished_at = clock_timestamp() where id = $1",
        operation,
        error
    )
    .execute(db)
    .await
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_makes_an_estimate_longer_for_as_long_as_it_holds() {
        let estimated_of = |share, last: Option<f64>, events, seconds| {
            let plan = Plan {
                projection: "orders".to_owned(),
                generation: 2,
                version: 1,
                live_generation: 1,
                live_version: 1,
                positions: 10_000,
                tables: Vec::new(),
                estimated_seconds: last,
                conflicts: Vec::new(),
                under_way: None,
                plan_token: String::new(),
                share,
            };
            plan.at(Rate { events, seconds: Some(seconds) }).estimated_seconds
        };
        let estimated = |last, events, seconds| estimated_of(1.0, last, events, seconds);
        assert_eq!(estimated_of(0.5, Some(10.0), 100.0, 3600), Some(50.0), "the rate is of its own events");
        assert_eq!(estimated(Some(10.0), 100.0, 3600), Some(100.0));
        assert_eq!(estimated(None, 100.0, 3600), Some(100.0), "nothing else is known, and nothing else is needed");
        assert_eq!(estimated(Some(10.0), 100.0, 50), Some(55.0), "half at 100 a second, the rest at 1000");
        assert_eq!(estimated(None, 100.0, 50), None, "nobody knows how fast it is without it");
        assert_eq!(estimated(Some(1000.0), 100.0, 3600), Some(1000.0), "it is slower by itself");
    }
}
