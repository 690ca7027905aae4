//! Dropping a generation: the one thing that cannot be taken back. The schema goes in one transaction; what the workers
//! remembered of it goes in small steps afterwards.

use database::Lent;
use kill_points::kill_point;
use read_model::AnyProjection;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use super::rebuild::{self, Refused};
use super::{dependents, verify};
use crate::apply::Applier;
use crate::audit::{self, Attribution};
use crate::operations::{self, New};
use crate::words::many;

/// Rows of each kind that are forgotten in one statement.
const FORGOTTEN: i64 = 5000;

/// What a retirement would do.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Retirement {
    pub projection: String,
    pub generation: i32,
    pub schema_name: String,
    /// Bytes of the tables that would be dropped, with their indexes.
    pub bytes: i64,
    /// Why it would be refused now. Empty: it may be dropped.
    pub refusals: Vec<String>,
    /// What is lost by it besides the tables.
    pub warnings: Vec<String>,
    /// To be sent with the request.
    pub plan_token: String,
}

/// A retirement that is asked for.
#[derive(Debug, Clone)]
pub struct NewRetirement {
    pub generation: i32,
    pub plan_token: String,
    pub by: Attribution,
    pub idempotency_key: Option<String>,
}

/// What it would do now.
///
/// # Errors
/// There is no such generation, or the database does not answer.
pub async fn plan(pool: &PgPool, projection: &dyn AnyProjection, generation: i32) -> Result<Retirement, Refused> {
    plan_on(&mut *pool.acquire().await?, projection, generation).await
}

async fn plan_on(
    db: &mut PgConnection,
    projection: &dyn AnyProjection,
    generation: i32,
) -> Result<Retirement, Refused> {
    let name = projection.name();
    let row = sqlx::query_file!("src/generations/retirement.sql", name, generation).fetch_optional(&mut *db).await?;
    let row = row.ok_or_else(|| Refused::Unknown(name.to_owned(), generation))?;
    let mut refusals = Vec::new();
    if row.live {
        refusals.push("it is live".to_owned());
    }
    if row.retired {
        refusals.push("it is retired already".to_owned());
    }
    if !row.retired {
        refusals.extend(stands_on(&dependents::of(db, &row.schema_name).await?));
    }
    let tables = rebuild::sizes(&mut *db, &row.schema_name).await?;
    let mut warnings = Vec::new();
    if row.kept {
        warnings.push("the way back to it is open, and will be closed".to_owned());
        let found = verify::found(&mut *db, name).await?.remove(&row.live_generation).unwrap_or_default();
        if found > 0 {
            warnings.push(format!(
                "what is read, generation {}, was found to differ from the store: {}, and this may be what is right",
                row.live_generation,
                many(found, "difference")
            ));
        }
    }
    Ok(Retirement {
        projection: name.to_owned(),
        generation,
        schema_name: row.schema_name,
        bytes: tables.iter().map(|table| table.bytes).sum(),
        refusals,
        warnings,
        plan_token: format!("{name}.{}.{generation}.retire", row.live_generation),
    })
}

/// Why tables on which others were made are not dropped: those would be dropped with them.
fn stands_on(dependents: &[String]) -> Option<String> {
    let stand = "was made on its tables, and would be dropped with them: drop it, or make it anew on the live ones";
    (!dependents.is_empty()).then(|| format!("{} {stand}", dependents.join(", ")))
}

/// Writes down that it is wanted. A worker of the projection does it.
///
/// # Errors
/// It may not, the plan is of another state, or the key was used for something else.
pub async fn ask(pool: &PgPool, projection: &dyn AnyProjection, new: &NewRetirement) -> Result<Uuid, Refused> {
    let mut db = Lent::by(pool).await?;
    let asked = ask_on(&mut db, projection, new).await;
    db.give_back();
    asked
}

async fn ask_on(db: &mut PgConnection, projection: &dyn AnyProjection, new: &NewRetirement) -> Result<Uuid, Refused> {
    let name = projection.name();
    let selection = json!({"generation": new.generation, "plan_token": new.plan_token});
    let mut tx = db.begin().await?;
    let asked = New {
        kind: "retire",
        projection: Some(name),
        selection: &selection,
        by: &new.by,
        idempotency_key: new.idempotency_key.as_deref(),
        positions: None,
        selected: 0,
        rate: None,
    };
    if let Some(before) = operations::before(&mut tx, &asked).await? {
        return Ok(before);
    }
    let plan = plan_on(&mut tx, projection, new.generation).await?;
    if plan.plan_token != new.plan_token {
        return Err(Refused::StalePlan);
    }
    if !plan.refusals.is_empty() {
        return Err(Refused::Impossible(plan.refusals.join("; ")));
    }
    let id = operations::insert(&mut tx, &asked).await?;
    operations::of_generation(&mut tx, id, new.generation).await?;
    let detail = json!({"projection": name, "generation": new.generation, "bytes": plan.bytes});
    audit::record(&mut tx, &new.by, "generation.retire", id, &detail).await?;
    tx.commit().await?;
    Ok(id)
}

/// Drops what is to be dropped, and forgets some of what was dropped before.
pub(super) async fn carry_out(applier: &Applier) -> sqlx::Result<()> {
    let name = applier.projection.name();
    let due = sqlx::query_file!("src/generations/retire.sql", name).fetch_all(&applier.pool).await?;
    for generation in due {
        if generation.retired {
            forget(&applier.pool, name, generation.generation).await?;
            continue;
        }
        let mut db = Lent::by(&applier.pool).await?;
        let dropped = retire(&mut db, name, generation.generation, generation.operation).await;
        db.give_back();
        match dropped {
            Err(error) if database::is_lock_timeout(&error) => {
                tracing::info!(
                    projection = name,
                    generation = generation.generation,
                    "retire: it is being read; later"
                );
            }
            dropped => dropped?,
        }
    }
    Ok(())
}

async fn retire(db: &mut PgConnection, name: &str, generation: i32, operation: Option<Uuid>) -> sqlx::Result<()> {
    let mut tx = db.begin().await?;
    sqlx::raw_sql("set local lock_timeout = '2s'").execute(&mut *tx).await?;
    if let Some(operation) = operation {
        let ours = sqlx::query_scalar!(
            "select id from operations where id = $1 and state = 'pending' for no key update skip locked",
            operation
        );
        if ours.fetch_optional(&mut *tx).await?.is_none() {
            // It was cancelled, or another worker is at it.
            return Ok(());
        }
    }
    let schema = sqlx::query_scalar!(
        "select schema_name from generations
         where projection = $1 and generation = $2 and live_since is null and retired_at is null
         for update skip locked",
        name,
        generation
    );
    let Some(schema) = schema.fetch_optional(&mut *tx).await? else {
        // It is live by now, or somebody builds it at this moment, or it is gone.
        sqlx::query!(
            "update operations
             set state = 'failed', error = 'it is live, or retired', finished_at = clock_timestamp()
             where id = $1 and exists (
                 select from generations
                 where projection = $2 and generation = $3 and (live_since is not null or retired_at is not null)
             )",
            operation,
            name,
            generation
        )
        .execute(&mut *tx)
        .await?;
        return tx.commit().await;
    };
    if let Some(operation) = operation
        && let Some(refusal) = stands_on(&dependents::of(&mut tx, &schema).await?)
    {
        sqlx::query!(
            "update operations set state = 'failed', error = $2, finished_at = clock_timestamp() where id = $1",
            operation,
            refusal
        )
        .execute(&mut *tx)
        .await?;
        return tx.commit().await;
    }
    // The name is one that this code made of a projection's.
    sqlx::raw_sql(AssertSqlSafe(format!("drop schema {schema} cascade"))).execute(&mut *tx).await?;
    sqlx::query!(
        "update generations set retired_at = clock_timestamp() where projection = $1 and generation = $2",
        name,
        generation
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!("delete from generation_parts where projection = $1 and generation = $2", name, generation)
        .execute(&mut *tx)
        .await?;
    sqlx::query!(
        "update operations set state = 'succeeded', started_at = now(), finished_at = clock_timestamp() where id = $1",
        operation
    )
    .execute(&mut *tx)
    .await?;
    kill_point!("retire.dropped");
    tx.commit().await?;
    kill_point!("retire.committed");
    tracing::info!(projection = name, generation, "the tables of a generation that is not read are gone");
    Ok(())
}

/// Forgets some of what the workers remembered of a generation that is gone.
async fn forget(pool: &PgPool, name: &str, generation: i32) -> sqlx::Result<()> {
    sqlx::query_file!("src/generations/forget.sql", name, generation, FORGOTTEN).execute(pool).await.map(drop)
}
