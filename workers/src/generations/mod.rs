//! Generations: a read model built anew beside the one that is read, put in its place, and taken back.
//!
//! Every generation has a schema and a ledger of its own. The live one is written from the bus, by
//! [`apply`](mod@crate::apply); all others by their [builders](Generations) from the store. A process keeps the generations that
//! its version of the code built, so that a new one is fresh before anybody reads it, and the one before stays current for
//! the way back. Promoting, [asked for](gate) by a person, is one transaction in which the store is caught up with, the schemas change their
//! names, and the fence moves. See docs/adr/0027.

pub mod as_of;
mod automatic;
mod build;
pub mod dependents;
pub mod gate;
pub mod keepers;
mod pace;
mod promote;
pub mod rebuild;
pub mod retire;
pub mod shape;
mod size;
mod source;
pub mod tasks;
mod throttle;
pub mod verify;

use chrono::{DateTime, Utc};
use read_model::{AnyProjection, Foreign, Unfit};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgDatabaseError, PgErrorPosition};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

pub use automatic::Raised;
pub use build::Generations;
pub use pace::Eta;
pub use rebuild::Refused;
pub(crate) use throttle::Resting;

/// How many parts a generation may be built in.
pub const MOST_PARTS: i32 = 16;

/// A part of a generation that is not live: the aggregates whose hash is its number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Part {
    pub generation: i32,
    pub part: i32,
    pub parts: i32,
}

/// What a generation is to its projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, ToSchema)]
#[schema(as = GenerationStanding)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Standing {
    /// Consumers read it.
    Live,
    /// It does not have yet what was in the store when its building began.
    Building,
    /// It follows the store, and can be promoted.
    Ready,
    /// It ends at a past position, and is there to be looked at.
    AsOf,
    /// It was live before, and follows the store for the way back.
    Previous,
    /// It was live before, and follows no more: the way back is closed.
    Left,
    /// Its operation was cancelled or has failed: a worker takes its tables away.
    Abandoned,
    /// Its tables are gone.
    Retired,
}

impl Standing {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Building => "building",
            Self::Ready => "ready",
            Self::AsOf => "as_of",
            Self::Previous => "previous",
            Self::Left => "left",
            Self::Abandoned => "abandoned",
            Self::Retired => "retired",
        }
    }
}

/// A generation as `GET /admin/v1/projections/{projection}/generations` shows it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Generation {
    pub projection: String,
    pub generation: i32,
    /// Of the code that builds it and keeps it current.
    pub version: i32,
    pub schema_name: String,
    pub standing: Standing,
    /// Of one that is there to be looked at: the last position that is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<i64>,
    /// The operation that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Uuid>,
    pub created_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_since: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_at: Option<DateTime<Utc>>,
    /// Until when the way back to it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_until: Option<DateTime<Utc>>,
    /// Of one that is not live: how far it follows the store, and how far that goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<i64>,
    pub head: i64,
    /// Events that its builders went through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<i64>,
    /// When it will have caught up with the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<Eta>,
    /// Of its own events a second at most, of one that is being built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Why it is as slow as it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pace: Vec<String>,
    /// Events parked in it.
    pub parked: i64,
    /// What its last verification has found, if that was lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differences: Option<i64>,
}

impl Generation {
    /// What is left takes as long as its rate wants, however fast it came through what is not its own. `share`: of the events of
    /// the store that are its own.
    fn no_faster_than_its_rate(&mut self, share: f64) {
        if let (Some(rate), Some(position), Some(eta)) = (self.rate, self.position, &mut self.eta) {
            let own = share * self.head as f64 - self.events.unwrap_or_default() as f64;
            eta.at_least(own.clamp(0.0, (self.head - position).max(0) as f64) / rate);
        }
    }
}

/// The same as [`list`], with what verifications have found, and what a rate does to the time that is left.
///
/// # Errors
/// The database's.
pub async fn list_of(pool: &PgPool, projection: &dyn AnyProjection, most: i64) -> sqlx::Result<Vec<Generation>> {
    let mut all = list(pool, projection.name(), most).await?;
    let found = verify::found(pool, projection.name()).await?;
    all.iter_mut().for_each(|it| it.differences = found.get(&it.generation).copied());
    if all.iter().any(|it| it.rate.is_some())
        && let Some(share) = rebuild::share(&mut *pool.acquire().await?, projection).await?
    {
        all.iter_mut().for_each(|it| it.no_faster_than_its_rate(share));
    }
    Ok(all)
}

/// The generations of a projection, the newest first; `most` of them.
///
/// # Errors
/// The database's.
pub async fn list(pool: &PgPool, projection: &str, most: i64) -> sqlx::Result<Vec<Generation>> {
    let rows = sqlx::query_file!("src/generations/list.sql", projection, most).fetch_all(pool).await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let parts = pace::Parts {
                positions: row.positions.unwrap_or_default(),
                rates: row.rates.unwrap_or_default(),
                deciles: row
                    .slow_rates
                    .unwrap_or_default()
                    .into_iter()
                    .zip(row.fast_rates.unwrap_or_default())
                    .collect(),
            };
            let follows = matches!(row.standing, Standing::Building | Standing::Ready | Standing::Previous);
            let (head, append_rate) = row.as_of.map_or((row.head, row.append_rate), |last| (last.min(row.head), 0.0));
            Generation {
                projection: projection.to_owned(),
                generation: row.generation,
                version: row.version,
                schema_name: row.schema_name,
                standing: row.standing,
                as_of: row.as_of,
                operation: row.operation_id,
                created_at: row.created_at,
                live_since: row.live_since,
                replaced_at: row.replaced_at,
                kept_until: row.kept_until,
                position: parts.positions.iter().min().copied(),
                head,
                events: row.events,
                eta: follows.then(|| pace::eta(&parts, head, append_rate)),
                rate: row.rate,
                pace: row.pace.unwrap_or_default(),
                parked: row.parked,
                differences: None,
            }
        })
        .collect())
}

/// The first generation of a projection, with empty tables, live at once. Belongs into the transaction that enters the
/// projection.
pub(crate) async fn first(db: &mut PgConnection, projection: &dyn AnyProjection) -> sqlx::Result<()> {
    let name = projection.name();
    sqlx::query!(
        "insert into generations (projection, generation, version, schema_name, built_at, live_since)
         select name, generation, version, schema_name, clock_timestamp(), clock_timestamp()
         from projections
         where name = $1",
        name
    )
    .execute(&mut *db)
    .await?;
    create(db, name, name, &[projection.tables(), projection.indexes()].join(";\n")).await
}

/// Says what one long step of a generation is doing, outside of the transaction in which it does it.
async fn busy(pool: &PgPool, projection: &str, generation: i32, with: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "update generation_parts set pace = $3 where projection = $1 and generation = $2",
        projection,
        generation,
        with
    )
    .execute(pool)
    .await
    .map(drop)
}

/// A schema, and in it what the statements make. They come from the catalogue, which is code, never from outside.
async fn create(db: &mut PgConnection, projection: &str, schema: &str, statements: &str) -> sqlx::Result<()> {
    let before = read_model::foreign(db, schema).await?;
    let begin = format!("create schema {schema}; set local search_path to {schema}, public");
    let made = as_owner(db, projection, &[&begin, statements]).await;
    if let Err(error) = made {
        // Of a statement that names another schema: this one is there.
        return Err(if database::is_misfit(&error) && !database::lacks_schema(&error) {
            sqlx::Error::Configuration(misfit(projection, statements, &error).into())
        } else if database::lacks_schema(&error) {
            let problem =
                error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
            let said = format!(
                "the tables of {projection} are to be made without naming a schema, because each generation has its own: {problem}"
            );
            sqlx::Error::Configuration(said.into())
        } else {
            error
        });
    }
    let mut tables = read_model::foreign(db, schema).await?;
    tables.retain(|table| !before.contains(table));
    if !tables.is_empty() {
        return Err(sqlx::Error::Configuration(Foreign { projection: projection.to_owned(), tables }.into()));
    }
    let what = read_model::unfit(db, schema).await?;
    if !what.is_empty() {
        return Err(sqlx::Error::Configuration(Unfit { projection: projection.to_owned(), what }.into()));
    }
    let others = sqlx::query_scalar!(
        "select schema_name from generations where schema_name <> $1 and retired_at is null",
        schema
    );
    let others = others.fetch_all(&mut *db).await?;
    let found = dependents::rests_on(db, schema, &others).await?;
    if found.is_empty() { Ok(()) } else { Err(sqlx::Error::Configuration(rests(projection, &found).into())) }
}

/// Why tables that rest on those of another read model are not made.
pub fn rests(projection: &str, others: &[String]) -> String {
    format!(
        "the tables of {projection} rest on those of {}, another read model, which has generations of its own: what was made on one of \
         them would go on reading it, and go with it when it is dropped. Let {projection} listen to the events that it needs",
        others.join(", ")
    )
}

/// Does what only the owner of a projection's schemas may. Where that is a role that this user is a member of, it is done as the
/// role: what is made belongs to whom the live generation belongs to.
async fn as_owner(db: &mut PgConnection, projection: &str, statements: &[&str]) -> sqlx::Result<()> {
    let owner = sqlx::query_scalar!(
        r#"select quote_ident(owner.rolname) as "owner!"
           from projections
           join pg_namespace on nspname = schema_name
           join pg_roles as owner on owner.oid = nspowner
           where name = $1 and owner.rolname <> current_user and pg_has_role(owner.oid, 'member')"#,
        projection
    );
    let owner = owner.fetch_optional(&mut *db).await?;
    let (begin, end) = match &owner {
        Some(owner) => (format!("set local role {owner}"), "set local role none"),
        None => (String::new(), ""),
    };
    // Each for itself, so that Postgres counts the characters of an error from where its own text begins.
    for statements in [&*begin].into_iter().chain(statements.iter().copied()).chain([end]) {
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut *db).await?;
    }
    Ok(())
}

/// What Postgres does not take of the statements that make a read model's tables, and in which line of them.
pub fn misfit(projection: &str, statements: &str, error: &sqlx::Error) -> String {
    let position =
        error.as_database_error().and_then(|error| match error.try_downcast_ref::<PgDatabaseError>()?.position()? {
            PgErrorPosition::Original(position) => position.checked_sub(1),
            PgErrorPosition::Internal { .. } => None,
        });
    let line = position.map(|position| {
        let line = 1 + statements.chars().take(position).filter(|character| *character == '\n').count();
        format!(", line {line}")
    });
    let (line, error) = (line.unwrap_or_default(), database::describe(error));
    format!("the tables of {projection}{line}: {error}")
}

/// The schema of a generation that is not live.
fn schema_of(projection: &str, generation: i32) -> String {
    format!("{projection}__g{generation}")
}
