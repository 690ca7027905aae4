//! Rebuilding and promoting without being asked, where nobody has to be asked: while a projection is being developed.

use read_model::AnyProjection;
use sqlx::PgPool;

use super::promote::{self, NewPromote, Way};
use super::rebuild::{self, NewRebuild, Refused};
use crate::audit::Attribution;

/// If this code has another version than the live generation: the next thing that is to be done about it.
pub(super) async fn renew(pool: &PgPool, projection: &dyn AnyProjection) -> sqlx::Result<()> {
    match next(pool, projection).await {
        Err(Refused::Database(error)) => Err(error),
        Err(refused) => {
            tracing::debug!(projection = projection.name(), %refused, "not renewed now");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

async fn next(pool: &PgPool, projection: &dyn AnyProjection) -> Result<(), Refused> {
    let plan = rebuild::plan(pool, projection).await?;
    if plan.live_version == plan.version {
        return Ok(());
    }
    let by = Attribution {
        actor: "fleet".to_owned(),
        reason: format!("version {} of the code, after {}", plan.version, plan.live_version),
    };
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
