//! A projection to which nothing is applied for now, because a person said so: for how long, why, and who.
//!
//! The pause stands in the fence row. Whoever writes to the read model reads it in the transaction in which he writes, and
//! whoever pauses waits for those who are at it: once the pause is answered, nothing is committed any more. Its events stay
//! in the store, from where its sweep takes them afterwards.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use database::Lent;
use kill_points::kill_point;
use read_model::AnyProjection;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{Connection, PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::audit::{self, Attribution};
use crate::fence;
use crate::operations::{self, Accepted, New, Operation};

/// How often a worker looks whether a projection is still paused. Within this time, and that of a step, it goes on.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// How long whoever pauses waits for the writers that are at it. Others wait behind him meanwhile.
const WAIT: &str = "10s";

/// The longest pause with an end.
pub const LONGEST_SECONDS: u32 = 366 * 24 * 60 * 60;

/// Who paused it, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pause {
    pub reason: String,
    pub actor: String,
    pub since: DateTime<Utc>,
    /// By the database's clock; `null`: until somebody resumes it.
    pub until: Option<DateTime<Utc>>,
}

impl Pause {
    /// As a stop of all operations, which ends in another way.
    pub fn of_operations(&self) -> String {
        self.to_string().replace("until it is resumed", "until `fleet operations go-on`")
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, actor, since, until } = self;
        write!(f, "by {actor} since {}", since.format("%FT%TZ"))?;
        match until {
            Some(until) => write!(f, " until {}: {reason}", until.format("%FT%TZ")),
            None => write!(f, " until it is resumed: {reason}"),
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct NewPause {
    /// `None`: until somebody resumes it.
    pub seconds: Option<u32>,
    /// In place of the pause that there is.
    pub replace: bool,
    pub by: Attribution,
    pub idempotency_key: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = PauseSwitched)]
pub struct Switched {
    pub projection: String,
    /// The pause that began; `null`: it was resumed.
    pub paused: Option<Pause>,
    /// What is kept of it among the operations.
    pub operation: Uuid,
}

#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Asked(#[from] operations::Refused),
    #[error("projection {0} is not in the database yet: run `fleet migrate`")]
    Missing(&'static str),
    #[error("{0} is paused already, {1}; with `replace` (--replace) this pause takes its place")]
    PausedAlready(&'static str, Pause),
    #[error("{name} is not paused{}", .expired.as_ref().map_or_else(String::new, |it| format!("; it was {it}, and that has expired")))]
    NotPaused { name: &'static str, expired: Option<Pause> },
    #[error("a write to {0} has been under way for {WAIT}; nothing was changed, ask again")]
    Busy(&'static str),
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        Self::Asked(error.into())
    }
}

/// What the fence row says.
struct Current {
    pause: Option<Pause>,
    /// By the database's clock.
    expired: bool,
}

/// Pauses a projection. When it is answered, nothing is written to the read model any more.
///
/// # Errors
/// It is not there, is paused already, or is being written to for too long; nothing has changed then.
pub async fn pause(pool: &PgPool, projection: &dyn AnyProjection, new: &NewPause) -> Result<Switched, Refused> {
    let selection = json!({"seconds": new.seconds, "replace": new.replace});
    let asked = asked("pause", projection, &selection, &new.by, new.idempotency_key.as_deref());
    let name = projection.name();
    switch(pool, name, &asked, async |db, id, Current { pause, expired }| {
        let before = pause.filter(|_| !expired);
        if let Some(pause) = before.clone().filter(|_| !new.replace) {
            return Err(Refused::PausedAlready(name, pause));
        }
        sqlx::query_file!("src/pause/begin.sql", name, id).execute(&mut *db).await?;
        let detail = json!({"projection": name, "seconds": new.seconds, "instead_of": before});
        Ok(audit::record(db, &new.by, "projection.pause", id, &detail).await?)
    })
    .await
}

/// Ends a pause.
///
/// # Errors
/// It is not there, or not paused.
pub async fn resume(
    pool: &PgPool,
    projection: &dyn AnyProjection,
    by: &Attribution,
    idempotency_key: Option<&str>,
) -> Result<Switched, Refused> {
    let name = projection.name();
    let selection = json!({});
    switch(pool, name, &asked("resume", projection, &selection, by, idempotency_key), async |db, id, current| {
        let pause = match current {
            Current { pause: Some(pause), expired: false } => pause,
            Current { pause: expired, .. } => return Err(Refused::NotPaused { name, expired }),
        };
        sqlx::query!(
            "update projections
             set paused_at = null, paused_until = null, paused_by = null, pause_reason = null,
                 resumed_at = clock_timestamp()
             where name = $1",
            name
        )
        .execute(&mut *db)
        .await?;
        let detail = json!({"projection": name, "paused": pause});
        Ok(audit::record(db, by, "projection.resume", id, &detail).await?)
    })
    .await
}

fn asked<'a>(
    kind: &'static str,
    projection: &dyn AnyProjection,
    selection: &'a serde_json::Value,
    by: &'a Attribution,
    idempotency_key: Option<&'a str>,
) -> New<'a> {
    let projection = Some(projection.name());
    New { kind, projection, selection, by, idempotency_key, positions: None, selected: 0, rate: None }
}

/// One transaction: the fence row, the operation that says so, and the line in the audit log.
async fn switch(
    pool: &PgPool,
    projection: &'static str,
    asked: &New<'_>,
    work: impl AsyncFnOnce(&mut PgConnection, Uuid, Current) -> Result<(), Refused>,
) -> Result<Switched, Refused> {
    let mut db = Lent::by(pool).await?;
    let switched = switch_on(&mut db, projection, asked, work).await;
    db.give_back();
    let id = switched.map_err(|refused| match refused {
        Refused::Asked(operations::Refused::Database(error)) if database::is_lock_timeout(&error) => {
            Refused::Busy(projection)
        }
        refused => refused,
    })?;
    kill_point!("pause.committed");
    let operation = operations::get(pool, id).await?.ok_or(sqlx::Error::RowNotFound)?;
    Ok(Switched { projection: projection.to_owned(), paused: paused_by(&operation), operation: id })
}

async fn switch_on(
    db: &mut PgConnection,
    projection: &'static str,
    asked: &New<'_>,
    work: impl AsyncFnOnce(&mut PgConnection, Uuid, Current) -> Result<(), Refused>,
) -> Result<Uuid, Refused> {
    let mut tx = db.begin().await?;
    sqlx::query!("select set_config('lock_timeout', $1, true)", WAIT).fetch_one(&mut *tx).await?;
    fence::close(&mut tx, projection).await?;
    let current = current(&mut tx, projection).await?;
    let id = match operations::ask(&mut tx, asked).await? {
        Accepted::Before(id) => return Ok(id),
        Accepted::New(id) => id,
    };
    work(&mut tx, id, current).await?;
    operations::done(&mut tx, id).await?;
    kill_point!("pause.recorded");
    tx.commit().await?;
    Ok(id)
}

/// The pause that an operation began, as it wrote it.
fn paused_by(operation: &Operation) -> Option<Pause> {
    let seconds = operation.selection.0.get("seconds").and_then(serde_json::Value::as_u64);
    let until = seconds.map(|seconds| operation.created_at + TimeDelta::seconds(seconds as i64));
    (operation.kind == "pause").then(|| Pause {
        reason: operation.reason.clone(),
        actor: operation.actor.clone(),
        since: operation.created_at,
        until,
    })
}

async fn current(db: &mut PgConnection, projection: &'static str) -> Result<Current, Refused> {
    let row = sqlx::query!(
        r#"select
               pause_reason, paused_by, paused_at, nullif(paused_until, 'infinity') as until,
               coalesce(paused_until <= clock_timestamp(), true) as "expired!"
           from projections
           where name = $1
           for no key update"#,
        projection
    )
    .fetch_optional(db)
    .await?
    .ok_or(Refused::Missing(projection))?;
    let pause = Pause::of(row.pause_reason, row.paused_by, row.paused_at, row.until);
    Ok(Current { pause, expired: row.expired })
}

impl Pause {
    /// Of the columns of the fence row; `None`: it says nothing of a pause.
    pub(crate) fn of(
        reason: Option<String>,
        actor: Option<String>,
        since: Option<DateTime<Utc>>,
        until: Option<DateTime<Utc>>,
    ) -> Option<Self> {
        Some(Self { reason: reason?, actor: actor?, since: since?, until })
    }
}
