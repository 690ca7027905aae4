//! Whether a generation may become the live one, or the one before it again, and asking for it.

use database::Lent;
use read_model::AnyProjection;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{Connection, PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use super::rebuild::Refused;
use super::{dependents, verify};
use crate::audit::{self, Attribution};
use crate::operations::{self, New};
use crate::words::{duration, many};

/// Events that are left to be applied while the live generation stands still, at most. More are left to the builders first.
pub(super) const TAIL: i64 = 2000;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// To a generation that was built.
    Promote,
    /// To the one that was live before.
    Rollback,
}

impl Way {
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Rollback => "rollback",
        }
    }
}

/// Whether a generation may become the live one, and why not.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = PromoteGate)]
pub struct Gate {
    pub projection: String,
    pub generation: i32,
    pub version: i32,
    pub live_generation: i32,
    /// Why it would be refused now. Empty: it may.
    pub refusals: Vec<String>,
    /// What whoever asks for it may not expect.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Who rolled the read model back, and when, if nobody has promoted anything since: a rollback would take that back.
    #[serde(default)]
    pub rolled_back: Option<String>,
    /// No worker of its version runs: if it is asked for, it is done when one does.
    #[serde(default)]
    pub awaits_worker: bool,
    /// Positions that it is behind the store.
    pub behind: i64,
    /// To be sent with the request.
    pub plan_token: String,
}

/// What would become of a promote or a rollback now; the generation, if it is not named, is the newest that could be meant.
///
/// # Errors
/// There is none that could be meant, or the database does not answer.
pub async fn look(
    pool: &PgPool,
    projection: &dyn AnyProjection,
    way: Way,
    generation: Option<i32>,
) -> Result<Gate, Refused> {
    look_on(&mut *pool.acquire().await?, projection, way, generation).await
}

async fn look_on(
    db: &mut PgConnection,
    projection: &dyn AnyProjection,
    way: Way,
    generation: Option<i32>,
) -> Result<Gate, Refused> {
    let name = projection.name();
    let back = way == Way::Rollback;
    let row = sqlx::query_file!("src/generations/gate.sql", name, generation, back).fetch_optional(&mut *db).await?;
    let Some(row) = row else {
        return Err(match (way, generation) {
            (_, Some(generation)) => Refused::Unknown(name.to_owned(), generation),
            (Way::Promote, None) => {
                Refused::Impossible(format!("{name} has no generation that could be promoted: rebuild it first"))
            }
            (Way::Rollback, None) => Refused::Impossible(format!("{name} has no generation that was live before")),
        });
    };
    let mut refusals = Vec::new();
    if row.live {
        refusals.push("it is live already".to_owned());
    }
    if let Some(position) = row.as_of {
        refusals.push(format!("it ends at position {position}: it is there to be looked at"));
    }
    if row.retired {
        refusals.push("its tables are gone".to_owned());
    }
    if !row.built {
        refusals.push("it is not built yet".to_owned());
    }
    if row.left {
        refusals.push("the time in which it was kept current is over: rebuild".to_owned());
    }
    if back && !row.was_live {
        refusals.push("it was never live: promote it".to_owned());
    }
    if row.behind > TAIL && !row.live {
        let nobody = if row.kept {
            String::new()
        } else {
            format!(
                ", and nobody brings it nearer: that takes a worker of version {}, the program of before",
                row.version
            )
        };
        refusals.push(format!("it is {} positions behind the store, at most {TAIL}{nobody}", row.behind));
    }
    if row.lost > 0 {
        let generation = row.generation;
        let more = if row.lost >= 10_000 { " or more" } else { "" };
        refusals.push(format!(
            "{}{more} parked in it, which the live generation has applied (`fleet dead-letters list --projection {name} --generation \
             {generation}`): mend the code and have them tried again (`fleet dead-letters retry --projection {name} --generation \
             {generation}`), or raise its VERSION if its tables were not right",
            many(row.lost, "event")
        ));
    }
    let (version, mut warnings) = (row.version, Vec::new());
    if let Some(failing) = row.failing {
        warnings.push(format!("it does not follow the store, and will hardly take its place: {failing}"));
    }
    let dependents = dependents::of(&mut *db, &row.live_schema).await?;
    if !dependents.is_empty() {
        warnings.push(format!(
            "made on the tables of the live generation: {}. That goes on reading them, which stand still from then on: make it anew \
             afterwards",
            dependents.join(", ")
        ));
    }
    if !row.kept {
        warnings.push(format!(
            "no worker of version {version} of {name} runs: it is done when one does, unless it is cancelled before"
        ));
    }
    let found = verify::found(&mut *db, name).await?.remove(&row.generation).unwrap_or_default();
    if found > 0 {
        warnings.push(format!(
            "the last verification of generation {} found {}: its rows may be wrong, retire it if so",
            row.generation,
            many(found, "difference")
        ));
    }
    Ok(Gate {
        projection: name.to_owned(),
        generation: row.generation,
        version: row.version,
        live_generation: row.live_generation,
        refusals,
        warnings,
        rolled_back: row
            .rolled_back_by
            .zip(row.rolled_back_ago)
            .map(|(by, ago)| format!("{by}, {} ago", duration(ago))),
        awaits_worker: !row.kept,
        behind: row.behind,
        plan_token: format!("{name}.{}.{}.{}", row.live_generation, row.generation, way.kind()),
    })
}

/// A promote, a rollback that is asked for.
#[derive(Debug, Clone)]
pub struct NewPromote {
    pub way: Way,
    pub generation: Option<i32>,
    pub plan_token: String,
    pub by: Attribution,
    pub idempotency_key: Option<String>,
}

/// Writes down that it is wanted. A worker of the generation's version does it.
///
/// # Errors
/// It may not, the plan is of another state, or the key was used for something else.
pub async fn ask(pool: &PgPool, projection: &dyn AnyProjection, new: &NewPromote) -> Result<Uuid, Refused> {
    let mut db = Lent::by(pool).await?;
    let asked = ask_on(&mut db, projection, new).await;
    db.give_back();
    asked
}

async fn ask_on(db: &mut PgConnection, projection: &dyn AnyProjection, new: &NewPromote) -> Result<Uuid, Refused> {
    let name = projection.name();
    let selection = json!({"generation": new.generation, "plan_token": new.plan_token});
    let mut tx = db.begin().await?;
    let asked = New {
        kind: new.way.kind(),
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
    let gate = look_on(&mut tx, projection, new.way, new.generation).await?;
    if gate.plan_token != new.plan_token {
        return Err(Refused::StalePlan);
    }
    if !gate.refusals.is_empty() {
        return Err(Refused::Impossible(gate.refusals.join("; ")));
    }
    let id = operations::insert(&mut tx, &asked).await?;
    operations::of_generation(&mut tx, id, gate.generation).await?;
    let action = format!("generation.{}", new.way.kind());
    let detail = json!({"projection": name, "generation": gate.generation, "live_generation": gate.live_generation});
    audit::record(&mut tx, &new.by, &action, id, &detail).await?;
    tx.commit().await?;
    Ok(id)
}
