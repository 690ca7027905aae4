//! Makes decisions about dead letters true. The API writes them into `parked_events`; here a worker of the topic reads
//! them, one dead letter after the other, at the rate that was asked for.
//!
//! There is no claim and no cursor: the decisions themselves are the queue, and a step takes its own out in the
//! transaction in which it does the work. It may be killed, and two workers may do the same at once.

mod messages;

use std::time::Duration;

use event_store::database;
use events::AggregateId;
use tokio_util::sync::CancellationToken;

pub use messages::RedriveMessages;

use crate::apply::{Applier, Error, Redriven, Refused};
use crate::park::Reason;
use crate::{operations, retry};

/// How often a worker looks for decisions.
const POLL: Duration = Duration::from_secs(1);

/// Decisions read at a time.
const DECISIONS: i64 = 100;

/// Events of one aggregate applied in one transaction at most.
const STEP: usize = 200;

/// Times that an event that is alone may take too long, before the one for which it is parked again.
const PATIENCE: u32 = 2;

/// The dead letters of one projection.
#[derive(Debug, Clone)]
pub struct Redrive {
    pub applier: Applier,
}

struct Decision {
    aggregate_id: AggregateId,
    rate: Option<f64>,
}

impl Redrive {
    pub async fn run(self, stop: CancellationToken) {
        while retry::until_done("redriving", &stop, || self.pass(&stop)).await.is_some() {
            if stop.run_until_cancelled(tokio::time::sleep(POLL)).await.is_none() {
                break;
            }
        }
    }

    /// Everything that is decided.
    async fn pass(&self, stop: &CancellationToken) -> Result<(), Error> {
        loop {
            let decisions = self.decisions().await?;
            let last = decisions.len() < DECISIONS as usize;
            for decision in decisions {
                self.aggregate(&decision, stop).await?;
                if stop.is_cancelled() {
                    return Ok(());
                }
            }
            if last {
                return Ok(operations::finish(&self.applier.pool).await?);
            }
        }
    }

    async fn decisions(&self) -> sqlx::Result<Vec<Decision>> {
        let rows = sqlx::query_file!("src/redrive/decisions.sql", self.applier.projection.name(), DECISIONS)
            .fetch_all(&self.applier.pool)
            .await?;
        let decision = |id, rate| Decision { aggregate_id: AggregateId(id), rate };
        Ok(rows.into_iter().map(|row| decision(row.aggregate_id, row.rate)).collect())
    }

    /// Until nothing waits in the aggregate, or something is parked again.
    async fn aggregate(&self, decision: &Decision, stop: &CancellationToken) -> Result<(), Error> {
        let mut step = STEP;
        let mut too_slow = 0;
        let mut refused: Option<Refused> = None;
        while !stop.is_cancelled() {
            let refusal = refused.take();
            let redriving = self.applier.redrive(decision.aggregate_id, step, refusal.as_ref());
            match database::heard("redriving", redriving).await {
                Ok(Redriven::More(tally)) => {
                    step = (step * 2).min(STEP);
                    too_slow = 0;
                    pace(decision.rate, tally.applied, stop).await;
                }
                Ok(Redriven::Released(tally) | Redriven::Parked(tally)) => {
                    pace(decision.rate, tally.applied.max(1), stop).await;
                    break;
                }
                Ok(Redriven::Nothing) => break,
                // One event fails the whole step. One by one, until that event is the first.
                Err(error) if error.blames_an_event() && step > 1 => step = 1,
                Err(Error::Condemned(_, refusal)) => refused = Some(refusal),
                Err(error) if error.is_poison() => refused = Some((Reason::WriteFailed, error.to_string())),
                Err(error) if error.is_too_much() && step > 1 => step /= 2,
                Err(error) if error.is_too_slow() && too_slow < PATIENCE => too_slow += 1,
                Err(error) if error.is_too_slow() => refused = Some((Reason::WriteFailed, error.to_string())),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Waits as long as `events` may take at the rate.
async fn pace(rate: Option<f64>, events: u64, stop: &CancellationToken) {
    let wait = rate.and_then(|rate| Duration::try_from_secs_f64(events as f64 / rate).ok());
    if let Some(wait) = wait {
        stop.run_until_cancelled(tokio::time::sleep(wait)).await;
    }
}
