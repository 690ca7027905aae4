//! Putting a generation in the place of the live one, as it was asked for, and taking it back: both are the same.
//!
//! It is one transaction. The generation's builders are kept out, then the fence is taken, and from then on nobody writes to
//! the live generation. What the store has by now and the generation has not is applied, so that no reader ever sees fewer
//! events than before. Then the schemas change their names, and with the fence everybody moves on.

use std::time::{Duration, Instant};

use database::Lent;
use event_store::read::{self, Filter, Share};
use event_store::tail::Head;
use events::{Position, TraceContext};
use kill_points::kill_point;
use read_model::AnyProjection;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use traces::{SpanKind, names};
use uuid::Uuid;

use super::gate::{TAIL, Way};
use super::schema_of;
use crate::apply::{Applier, Condemned, Error};
use crate::dead_letters::park::Parked;
use crate::fence::{self, Fence};
use crate::verdict::Event;
use crate::words::many;

/// How long the transaction waits for a lock. Whoever wants to write waits behind it.
const LOCK: &str = "2s";

/// How long a promote is tried before it has failed.
const TRIED_FOR: Duration = Duration::from_secs(120);

/// How long the way back stays open.
const KEPT_HOURS: i32 = 24;

/// What is to be done.
pub(super) struct Wanted {
    operation: Uuid,
    way: Way,
    generation: i32,
    /// The generation that was live when it was asked for.
    live: i32,
    age: Duration,
    /// Of whoever asked for it.
    trace: Option<TraceContext>,
}

/// How far a part is.
struct Reached {
    share: Share,
    position: Position,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
enum Failed {
    /// It may go through the next time.
    #[error("{0}")]
    Later(String),
    #[error(transparent)]
    Apply(#[from] Error),
    /// It would fail again.
    #[error("{0}")]
    Never(String),
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Apply(error.into())
    }
}

/// Does what was asked for, if this is the code for it.
pub(super) async fn carry_out(applier: &Applier, head: &Head) -> sqlx::Result<()> {
    let Some(wanted) = wanted(applier).await? else { return Ok(()) };
    head.look(&applier.pool).await?;
    let mut db = Lent::by(&applier.pool).await?;
    let name = applier.projection.name();
    let span = traces::within(wanted.trace, || names::exchange(wanted.way.kind(), name), SpanKind::Internal);
    let mut span = span.begin();
    span.say(|words| names::of_generation(words, name, wanted.generation));
    let promoting = promote(&mut db, applier, &wanted);
    let done = database::with_deadline("promoting", async { Ok::<_, Failed>(promoting.await) }).await;
    let failed = match done.and_then(|done| done) {
        Ok(()) => {
            db.give_back();
            return Ok(());
        }
        Err(failed) => failed,
    };
    span.fail("not_yet", "the log says why");
    drop((db, span));
    let never = match &failed {
        Failed::Never(_) => true,
        Failed::Later(_) => false,
        Failed::Apply(error) => !error.is_transient() && !error.is_race(),
    };
    let (operation, projection, error) = (wanted.operation, applier.projection.name(), failed.to_string());
    if !never && wanted.age < TRIED_FOR {
        tracing::info!(%operation, projection, error, "promote: not yet; trying again");
        return Ok(());
    }
    tracing::error!(%operation, projection, error, "promote: failed");
    sqlx::query!(
        "update operations set state = 'failed', error = $2, finished_at = clock_timestamp()
         where id = $1 and state = 'pending'",
        operation,
        error
    )
    .execute(&applier.pool)
    .await
    .map(drop)
}

pub(super) async fn wanted(applier: &Applier) -> sqlx::Result<Option<Wanted>> {
    let row = sqlx::query!(
        r#"select operation.id, operation.kind, generation.generation,
                  split_part(operation.selection ->> 'plan_token', '.', 2)::integer as "live!",
                  extract(epoch from clock_timestamp() - operation.created_at)::float8 as "age!",
                  operation.traceparent
           from operations as operation
           join generations as generation
               on generation.projection = operation.projection and generation.generation = operation.generation
           where operation.projection = $1
           and operation.kind in ('promote', 'rollback')
           and operation.state = 'pending'
           and generation.version = $2
           order by operation.created_at
           limit 1"#,
        applier.projection.name(),
        applier.projection.version() as i32
    );
    let row = row.fetch_optional(&applier.pool).await?;
    Ok(row.map(|row| Wanted {
        operation: row.id,
        way: if row.kind == "promote" { Way::Promote } else { Way::Rollback },
        generation: row.generation,
        live: row.live,
        age: Duration::try_from_secs_f64(row.age).unwrap_or_default(),
        trace: row.traceparent.as_deref().and_then(TraceContext::parse),
    }))
}

async fn promote(db: &mut PgConnection, applier: &Applier, wanted: &Wanted) -> Result<(), Failed> {
    let name = applier.projection.name();
    let generation = wanted.generation;
    let mut tx = db.begin().await?;
    sqlx::raw_sql(AssertSqlSafe(format!("set local lock_timeout = '{LOCK}'"))).execute(&mut *tx).await?;
    let ours = sqlx::query_scalar!(
        "select id from operations where id = $1 and state = 'pending' for no key update skip locked",
        wanted.operation
    );
    if ours.fetch_optional(&mut *tx).await?.is_none() {
        // Another worker is at it, or was.
        return Ok(());
    }
    // First the builders are kept out, who never wait for the fence: then there is little to do while everybody waits.
    let new = sqlx::query!(
        r#"select schema_name, version, live_since is not null as "live!", retired_at is not null as "retired!",
                  built_at is not null as "built!"
           from generations
           where projection = $1 and generation = $2
           for update"#,
        name,
        generation
    );
    let new = locked(new.fetch_optional(&mut *tx).await)?.ok_or_else(|| Failed::Never("it is gone".to_owned()))?;
    let in_its_way = match () {
        () if new.live => Some("it is live already: somebody else has done the same"),
        () if new.retired => Some("its tables are gone"),
        () if !new.built => Some("it is not built"),
        () => None,
    };
    if let Some(why) = in_its_way {
        return Err(Failed::Never(why.to_owned()));
    }
    kill_point!("promote.locked");
    let mut parts = parts(&mut tx, name, generation).await?;
    if parts.is_empty() {
        return Err(Failed::Never("it has no parts".to_owned()));
    }
    let before = read::head(&mut *tx).await?;
    let mut parked = catch_up(&mut tx, applier, generation, &mut parts, before).await?;
    kill_point!("promote.near");

    locked(fence::close(&mut tx, name).await)?;
    let live = sqlx::query!("select generation, schema_name from projections where name = $1 for update", name);
    let live = locked(live.fetch_one(&mut *tx).await)?;
    let began = Instant::now();
    if live.generation != wanted.live {
        let now = live.generation;
        return Err(Failed::Never(format!(
            "generation {now} is live by now, and {} was when it was planned",
            wanted.live
        )));
    }
    kill_point!("promote.fenced");
    let head = read::head(&mut *tx).await?;
    parked.extend(catch_up(&mut tx, applier, generation, &mut parts, head).await?);
    kill_point!("promote.caught_up");
    let lost = sqlx::query_file_scalar!("src/generations/lost.sql", name, generation, live.generation);
    let lost = lost.fetch_one(&mut *tx).await?;
    if lost > 0 {
        return Err(Failed::Never(format!(
            "{} parked in it, which the live generation has applied",
            many(lost, "event")
        )));
    }
    exchange(&mut tx, applier.projection, (live.generation, &live.schema_name), (generation, &new.schema_name), head)
        .await?;
    end_verifications(&mut tx, name, new.version).await?;
    kill_point!("promote.exchanged");
    let result = json!({"held_up_ms": began.elapsed().as_millis() as u64});
    sqlx::query!(
        "update operations
         set state = 'succeeded', started_at = now(), finished_at = clock_timestamp(), position = $2, result = $3
         where id = $1",
        wanted.operation,
        head.0,
        result
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    kill_point!("promote.committed");
    parked.iter().for_each(Parked::say);
    let (held_up, was) = (began.elapsed(), live.generation);
    tracing::info!(
        projection = name,
        generation,
        was,
        ?held_up,
        kind = wanted.way.kind(),
        "another generation is live"
    );
    Ok(())
}

/// Whoever waits too long for a lock tries again.
fn locked<T>(result: sqlx::Result<T>) -> Result<T, Failed> {
    result.map_err(|error| {
        if database::is_lock_timeout(&error) {
            Failed::Later(format!("somebody holds a lock for longer than {LOCK}"))
        } else {
            error.into()
        }
    })
}

/// Where the parts of a generation are.
async fn parts(db: &mut PgConnection, name: &str, generation: i32) -> sqlx::Result<Vec<Reached>> {
    let rows = sqlx::query!(
        "select part, parts, position from generation_parts where projection = $1 and generation = $2 order by part",
        name,
        generation
    );
    let rows = rows.fetch_all(db).await?;
    let reached = |of, part, position| Reached { share: Share { part, of }, position: Position(position) };
    Ok(rows.into_iter().map(|row| reached(row.parts, row.part, row.position)).collect())
}

/// Applies what the generation lacks of the store up to `head`, which must not be much. What is parked is to be said when it is
/// committed.
async fn catch_up(
    db: &mut PgConnection,
    applier: &Applier,
    generation: i32,
    parts: &mut [Reached],
    head: Position,
) -> Result<Vec<Parked>, Failed> {
    let name = applier.projection.name();
    let mut parked = Vec::new();
    let behind = parts.iter().map(|part| head.0 - part.position.0).max().unwrap_or_default();
    if behind > TAIL {
        return Err(Failed::Later(format!("it is {behind} positions behind the store, at most {TAIL}")));
    }
    let types = applier.projection.topics().iter().flat_map(|topic| topic.aggregate_types);
    let types: Vec<_> = types.map(|&name| name.to_owned()).collect();
    let fence = Fence::alone(&mut *db, name, generation).await?;
    for part in parts {
        let share = (part.share.of > 1).then_some(part.share);
        let filter = Filter { aggregate_types: types.clone(), share, ..Filter::default() };
        while part.position < head {
            let page = read::careful::page(&mut *db, part.position, head, TAIL, &filter).await.map_err(Error::from)?;
            let mut events: Vec<_> = Event::all(page.events, page.unreadable).collect();
            events.sort_unstable_by_key(|event| event.position);
            parked.extend(applier.build_on(&mut *db, fence, &events, &Condemned::new()).await?.1);
            part.position = page.upto;
        }
        sqlx::query!(
            "update generation_parts set position = greatest(position, $4)
             where projection = $1 and generation = $2 and part = $3",
            name,
            generation,
            part.share.part,
            head.0
        )
        .execute(&mut *db)
        .await?;
    }
    sqlx::raw_sql("set local search_path = public").execute(db).await?;
    Ok(parked)
}

/// A verification by the code of another version than the live one's would never be through: nobody compares with what that has built.
async fn end_verifications(db: &mut PgConnection, name: &str, version: i32) -> sqlx::Result<()> {
    sqlx::query!(
        "update operations
         set state = 'failed', error = 'a generation of version ' || $2 || ' is live by now: verify that',
             finished_at = clock_timestamp()
         where kind = 'verify' and projection = $1 and state in ('pending', 'running', 'paused', 'waiting')
         and (selection ->> 'version')::integer <> $2",
        name,
        version
    )
    .execute(db)
    .await
    .map(drop)
}

/// From here on the one is live, settled up to `head`, and the other follows the store.
async fn exchange(
    db: &mut PgConnection,
    projection: &dyn AnyProjection,
    (old, read): (i32, &str),
    (new, beside): (i32, &str),
    head: Position,
) -> sqlx::Result<()> {
    let name = projection.name();
    let left = schema_of(name, old);
    let rename = format!("alter schema {read} rename to {left}; alter schema {beside} rename to {read}");
    sqlx::raw_sql(AssertSqlSafe(rename)).execute(&mut *db).await?;
    let topics: Vec<_> = projection.topics().iter().map(|topic| topic.name).collect();
    sqlx::query!(
        "update generations
         set live_since = null, replaced_at = clock_timestamp(), schema_name = $3,
             kept_until = clock_timestamp() + make_interval(hours => $4)
         where projection = $1 and generation = $2",
        name,
        old,
        left,
        KEPT_HOURS
    )
    .execute(&mut *db)
    .await?;
    sqlx::query_file!("src/generations/exchange.sql", name, old, new, read, head.0, &topics as &[&str])
        .execute(&mut *db)
        .await?;
    sqlx::query!(
        "insert into generation_parts (projection, generation, part, parts, position, head)
         select $1, $2, 0, 1, coalesce(min(settled_position), 0), $3
         from projection_progress
         where projection = $1 and generation = $2",
        name,
        old,
        head.0
    )
    .execute(db)
    .await
    .map(drop)
}
