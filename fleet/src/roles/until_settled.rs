//! `fleet worker --until-settled`: a worker that ends when what was in the store is settled.

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Result;
use events::Topic;
use read_model::Catalogue;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use workers::goal::{Goal, Outcome};
use workers::{Metrics, lag};

use crate::host::Parts;

/// How the worker came to its end, known when its parts have ended.
pub(super) struct Settled {
    topic: &'static Topic,
    metrics: Metrics,
    reached: Arc<OnceLock<Option<Outcome>>>,
}

/// Has the parts end when everything is settled, or after so many seconds.
pub(super) fn begin(
    parts: &mut Parts,
    catalogue: &Catalogue,
    topic: &'static Topic,
    limit: Option<f64>,
) -> Result<Settled> {
    let reached = Arc::new(OnceLock::new());
    let settled = Settled { topic, metrics: parts.metrics()?, reached: reached.clone() };
    let (pool, stop, catalogue) = (parts.pool().clone(), parts.stop().clone(), catalogue.clone());
    parts.spawn("waiting until everything is settled", async move {
        let waiting = wait(&pool, &catalogue, topic, &stop);
        let outcome = match limit.map(Duration::from_secs_f64) {
            Some(limit) => tokio::time::timeout(limit, waiting).await.unwrap_or_else(|_| {
                tracing::error!(topic = topic.name, "not everything is settled after {} s", limit.as_secs_f64());
                None
            }),
            None => waiting.await,
        };
        reached.set(outcome).expect("nobody else sets it");
        stop.cancel();
        Ok::<_, Infallible>(())
    });
    Ok(settled)
}

async fn wait(
    pool: &PgPool,
    catalogue: &Catalogue,
    topic: &'static Topic,
    stop: &CancellationToken,
) -> Option<Outcome> {
    let projections = catalogue.listening_to(topic);
    let outcome = Goal::set(pool, topic, projections.clone(), stop).await?.reached(pool, stop).await?;
    match &outcome {
        Outcome::Outdated(names) => {
            let names = names.join(", ");
            tracing::error!(
                topic = topic.name,
                "never settled, because another version of the code built them: {names}"
            );
        }
        Outcome::Reached(head) => {
            tracing::info!(topic = topic.name, upto = head.0, "everything is settled");
            // What is settled may wait for a person.
            match lag::report(pool, &projections).await {
                Ok(report) => {
                    let waits = |it: &&lag::Status| it.topic == topic.name && it.parked > 0;
                    for lag::Status { name, parked, held_aggregates, .. } in report.projections.iter().filter(waits) {
                        tracing::warn!(
                            projection = name,
                            parked,
                            held_aggregates,
                            "waits for a person: fleet dead-letters"
                        );
                    }
                }
                Err(error) => tracing::warn!(%error, "what waits for a person is not known"),
            }
        }
    }
    Some(outcome)
}

impl Settled {
    /// 0 if everything was settled and nothing parked meanwhile, by this worker.
    pub(super) fn exit_code(&self) -> ExitCode {
        let parked = self.metrics.parked(self.topic);
        if parked > 0 {
            tracing::error!(
                topic = self.topic.name,
                parked,
                "parked meanwhile: look at it with fleet dead-letters list"
            );
        }
        match self.reached.get() {
            Some(Some(Outcome::Reached(_))) if parked == 0 => ExitCode::SUCCESS,
            Some(Some(_)) => ExitCode::FAILURE,
            Some(None) | None => {
                tracing::error!(topic = self.topic.name, "ended before everything was settled");
                ExitCode::FAILURE
            }
        }
    }
}
