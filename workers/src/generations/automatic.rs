//! What happens by itself when the `VERSION` of a projection was raised. Building anew harms nobody, so that nobody has to be
//! asked; what readers see is changed by a person, but where a projection is being developed.

use std::collections::BTreeMap;

use read_model::AnyProjection;
use sqlx::PgPool;

use super::promote::{self, NewPromote, Way};
use super::rebuild::{self, NewRebuild, Refused};
use crate::apply::Applier;
use crate::audit::Attribution;

/// What happens by itself where this code has a higher version than the live generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Raised {
    /// Nothing.
    #[default]
    Ignored,
    /// A generation of this code is built beside the one that is read, and waits for a person to promote it. Once for each
    /// version: what a person has cancelled, taken back or retired is not begun again.
    Built,
    /// It is built and promoted, also if the version is lower. For development.
    Promoted,
}

impl Raised {
    /// Whether something is done about rows that another version of the code has built.
    pub fn builds(self, live: i32, ours: i32) -> bool {
        match self {
            Self::Ignored => false,
            Self::Built => ours > live,
            Self::Promoted => true,
        }
    }

    /// What is done, as the log has it.
    pub fn says(self) -> &'static str {
        match self {
            Self::Ignored => "nothing is done about it",
            Self::Built => "this version is built beside the one that is read, and waits to be promoted",
            Self::Promoted => "this version is built beside the one that is read, and promoted when it is ready",
        }
    }
}

/// Says which projections were built by an older version than this code, in their metric, and does what is to be done about it.
pub(super) async fn look(pool: &PgPool, appliers: &[Applier], raised: Raised) -> sqlx::Result<()> {
    let begun = older(pool, appliers).await?;
    for applier in appliers {
        let projection = applier.projection;
        let older = begun.get(projection.name());
        applier.metrics.observe_outdated(applier.topic, projection.name(), older.is_some());
        match (raised, older) {
            (Raised::Promoted, _) => refused(projection, renew(pool, projection).await)?,
            (Raised::Built, Some(false)) => refused(projection, build(pool, projection).await)?,
            (Raised::Built | Raised::Ignored, _) => {}
        }
    }
    Ok(())
}

/// Of each projection whose live generation an older version built: whether a generation of this code was ever begun.
async fn older(pool: &PgPool, appliers: &[Applier]) -> sqlx::Result<BTreeMap<String, bool>> {
    let names: Vec<_> = appliers.iter().map(|applier| applier.projection.name()).collect();
    let versions: Vec<_> = appliers.iter().map(|applier| applier.projection.version() as i32).collect();
    let rows = sqlx::query_file!("src/generations/raised.sql", &names as &[&str], &versions).fetch_all(pool).await?;
    Ok(rows.into_iter().map(|row| (row.projection, row.begun)).collect())
}

fn refused(projection: &dyn AnyProjection, done: Result<(), Refused>) -> sqlx::Result<()> {
    match done {
        Err(Refused::Database(error)) => Err(error),
        Err(refused) => {
            tracing::debug!(projection = projection.name(), %refused, "not renewed now");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

fn by(plan: &rebuild::Plan) -> Attribution {
    Attribution {
        actor: "fleet".to_owned(),
        reason: format!("version {} of the code, after {}", plan.version, plan.live_version),
    }
}

/// Has it built, once.
async fn build(pool: &PgPool, projection: &dyn AnyProjection) -> Result<(), Refused> {
    let plan = rebuild::plan(pool, projection).await?;
    if plan.live_version >= plan.version || !plan.conflicts.is_empty() {
        return Ok(());
    }
    let name = projection.name();
    // However many workers look, and also if it was cancelled before it was begun.
    let idempotency_key = Some(format!("raised.{name}.{}", plan.version));
    let (from, to, by) = (plan.live_version, plan.version, by(&plan));
    let new = NewRebuild { parts: 1, rate: None, plan_token: plan.plan_token, by, idempotency_key };
    let operation = rebuild::ask(pool, projection, &new).await?;
    tracing::warn!(
        projection = name,
        from,
        to,
        %operation,
        "its version was raised: it is built anew beside what is read, and waits to be promoted; until then the code that built \
         what is read has to go on"
    );
    Ok(())
}

/// The next thing that is to be done about it.
async fn renew(pool: &PgPool, projection: &dyn AnyProjection) -> Result<(), Refused> {
    let plan = rebuild::plan(pool, projection).await?;
    if plan.live_version == plan.version {
        return Ok(());
    }
    let by = by(&plan);
    let name = projection.name();
    match promote::gate(pool, projection, Way::Promote, None).await {
        Ok(gate) if gate.version == plan.version => {
            if gate.refusals.is_empty() {
                let (generation, plan_token) = (Some(gate.generation), gate.plan_token.clone());
                // However often it is looked at, it is one promote.
                let idempotency_key = Some(format!("renewed.{}", gate.plan_token));
                let new = NewPromote { way: Way::Promote, generation, plan_token, by, idempotency_key };
                promote::ask(pool, projection, &new).await?;
            }
            return Ok(());
        }
        Ok(_) | Err(Refused::Impossible(_)) => {}
        Err(refused) => return Err(refused),
    }
    if plan.conflicts.is_empty() {
        let (from, to) = (plan.live_version, plan.version);
        tracing::info!(
            projection = name,
            from,
            to,
            "its version was raised: it is built anew, and put in place when it is through"
        );
        let idempotency_key = Some(format!("renew.{}", plan.plan_token));
        let new = NewRebuild { parts: 1, rate: None, plan_token: plan.plan_token, by, idempotency_key };
        rebuild::ask(pool, projection, &new).await?;
    }
    Ok(())
}
