//! A read model as of a past position: a generation that is built up to there and no further, in a schema of its own, to be looked
//! at. It does not follow the store and is never promoted, and it stands in the way of nothing. It goes when it is retired.

use chrono::{DateTime, Utc};
use database::Lent;
use read_model::AnyProjection;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{Connection, PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use super::rebuild::{self, Refused};
use super::schema_of;
use crate::audit::{self, Attribution};
use crate::operations::{self, New, Rate};

/// Up to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    Position(i64),
    /// The last position that was recorded at that time or before.
    Time(DateTime<Utc>),
}

/// What it would do. It touches nothing.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = AsOfPlan)]
pub struct Plan {
    pub projection: String,
    /// The generation that would be built if nothing else comes first, its schema, and the version of the code that builds it.
    pub generation: i32,
    pub schema_name: String,
    pub version: i32,
    /// The last position that would be in it, and when that was recorded.
    pub position: i64,
    pub recorded_at: DateTime<Utc>,
    /// Why it would be refused now.
    pub conflicts: Vec<String>,
    /// To be sent with the request that starts it.
    pub plan_token: String,
}

/// One that is asked for.
#[derive(Debug, Clone)]
pub struct NewAsOf {
    pub as_of: AsOf,
    pub parts: i32,
    /// Of all parts together.
    pub rate: Option<Rate>,
    pub plan_token: String,
    pub by: Attribution,
    pub idempotency_key: Option<String>,
}

/// What it would do now.
///
/// # Errors
/// The store has no such position, the projection has no generation yet, or the database does not answer.
pub async fn plan(pool: &PgPool, projection: &dyn AnyProjection, as_of: AsOf) -> Result<Plan, Refused> {
    plan_on(&mut *pool.acquire().await?, projection, as_of).await
}

async fn plan_on(db: &mut PgConnection, projection: &dyn AnyProjection, as_of: AsOf) -> Result<Plan, Refused> {
    let name = projection.name();
    let last = match as_of {
        AsOf::Position(position) => {
            let event = sqlx::query!("select position, created_at from events where position = $1", position);
            event.fetch_optional(&mut *db).await?.map(|event| (event.position, event.created_at))
        }
        AsOf::Time(time) => {
            let event = sqlx::query!(
                "select position, created_at from events
                 where created_at <= $1
                 order by created_at desc, position desc
                 limit 1",
                time
            );
            event.fetch_optional(&mut *db).await?.map(|event| (event.position, event.created_at))
        }
    };
    let (position, recorded_at) = last.ok_or_else(|| {
        Refused::Impossible(match as_of {
            AsOf::Position(position) => format!("the store has no position {position}"),
            AsOf::Time(time) => format!("nothing was recorded at {} or before", time.format("%FT%TZ")),
        })
    })?;
    let next = sqlx::query_scalar!(
        r#"select max(generation) + 1 as "following!" from generations where projection = $1 having count(*) > 0"#,
        name
    );
    let generation = next.fetch_optional(&mut *db).await?.ok_or_else(|| Refused::Missing(name.to_owned()))?;
    let under_way = rebuild::under_way(db, "as_of", name).await?;
    let version = projection.version() as i32;
    Ok(Plan {
        projection: name.to_owned(),
        generation,
        schema_name: schema_of(name, generation),
        version,
        position,
        recorded_at,
        conflicts: under_way.into_iter().map(|operation| rebuild::conflict("as_of", operation)).collect(),
        plan_token: format!("{name}.{version}.as_of.{position}"),
    })
}

/// Writes down that it is wanted. A worker begins it.
///
/// # Errors
/// Another is being built, the plan is of another position, or the key was used for something else.
pub async fn ask(pool: &PgPool, projection: &dyn AnyProjection, new: &NewAsOf) -> Result<Uuid, Refused> {
    let mut db = Lent::by(pool).await?;
    let asked = ask_on(&mut db, projection, new).await;
    db.give_back();
    asked
}

async fn ask_on(db: &mut PgConnection, projection: &dyn AnyProjection, new: &NewAsOf) -> Result<Uuid, Refused> {
    let name = projection.name();
    let mut tx = db.begin().await?;
    // Whoever asks at the same time waits here, and finds this one.
    let live = sqlx::query_scalar!("select generation from projections where name = $1 for no key update", name);
    if live.fetch_optional(&mut *tx).await?.is_none() {
        return Err(Refused::Missing(name.to_owned()));
    }
    let plan = plan_on(&mut tx, projection, new.as_of).await?;
    let position = plan.position;
    // As it was asked for: what was recorded by a time that is to come is more when it is asked again.
    let as_of = match new.as_of {
        AsOf::Position(position) => json!(position),
        AsOf::Time(time) => json!(time),
    };
    let selection = json!({
        "parts": new.parts, "version": projection.version(), "as_of": as_of, "plan_token": new.plan_token,
    });
    let asked = New {
        kind: "as_of",
        projection: Some(name),
        selection: &selection,
        by: &new.by,
        idempotency_key: new.idempotency_key.as_deref(),
        positions: Some((0, position)),
        selected: 0,
        rate: new.rate,
    };
    if let Some(before) = operations::before(&mut tx, &asked).await? {
        return Ok(before);
    }
    rebuild::free(&mut tx, "as_of", name).await?;
    if plan.plan_token != new.plan_token {
        return Err(Refused::StalePlan);
    }
    let id = operations::insert(&mut tx, &asked).await?;
    let detail = json!({"projection": name, "position": position, "recorded_at": plan.recorded_at});
    audit::record(&mut tx, &new.by, "as_of.start", id, &detail).await?;
    tx.commit().await?;
    Ok(id)
}
