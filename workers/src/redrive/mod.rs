//! Executes the decisions (retry, discard) on dead letters. The API writes them into `parked_events`; here a worker of the topic reads
//! them: operations side by side, within each one dead letter after the other, at the rate that was asked for.
//!
//! There is no claim and no cursor: the decisions themselves are the queue, and a step takes its own out in the
//! transaction in which it does the work. It may be killed, and two workers may do the same at once.

mod beside;
mod messages;
mod queue;
mod turns;

use std::time::Duration;

use events::AggregateId;
use queue::{Pace, Queue};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) use beside::Beside;
pub use messages::RedriveMessages;

use crate::apply::{Applier, Error, Refused, Resumed};
use crate::dead_letters::decided::{self, Sequence};
use crate::dead_letters::park::Reason;
use crate::operations;

/// How often a worker looks for decisions.
const POLL: Duration = Duration::from_secs(1);

/// Operations that take turns. Others join them when one is done.
const OPERATIONS: i64 = 1000;

/// Decisions read at a time.
const DECISIONS: i64 = 100;

/// Events of one aggregate applied in one transaction at most.
const STEP: usize = 200;

/// Times that an event that is alone may take too long, before the one for which it is parked again.
const TOO_SLOW_IN_A_ROW: u32 = 2;

/// The dead letters of one projection, on one topic.
#[derive(Debug, Clone)]
pub struct Redrive {
    pub applier: Applier,
}

impl Redrive {
    pub async fn run(self, stop: CancellationToken) {
        queue::run("redriving", &self, &stop).await;
    }
}

/// Some of what waits in the aggregate. What is too much, or has poison in it, is halved until it goes through or the
/// poison is alone and first, and is parked again.
async fn step(applier: &Applier, aggregate_id: AggregateId, beside: Option<i32>) -> Result<Resumed, Error> {
    let mut limit = STEP;
    let mut too_slow = 0;
    let mut refused: Option<Refused> = None;
    loop {
        let redriving = applier.resume(aggregate_id, beside, limit, refused.as_ref());
        match database::with_deadline("redriving", redriving).await {
            Ok(redriven) => return Ok(redriven),
            Err(error) if (error.blames_an_event() || error.is_too_much()) && limit > 1 => limit /= 2,
            Err(error) if refused.is_some() => return Err(error),
            Err(Error::Condemned(_, refusal)) => refused = Some(refusal),
            Err(error) if error.is_poison() => refused = Some((error.reason(), error.to_string())),
            Err(error) if error.is_too_slow() && too_slow < TOO_SLOW_IN_A_ROW => too_slow += 1,
            Err(error) if error.is_too_slow() => refused = Some((Reason::WriteFailed, error.to_string())),
            Err(error) => return Err(error),
        }
    }
}

/// Some of what an operation has to do, sequence after sequence, as far as its rate and its turn let it. Returns how long it
/// must rest then; `None`: it is through with these.
async fn redrive(
    applier: &Applier,
    sequences: Vec<Sequence>,
    pace: &mut Pace,
    stop: &CancellationToken,
) -> Result<Option<Duration>, Error> {
    for Sequence { aggregate_id, beside, rate } in sequences {
        // Until nothing waits in the aggregate, or something is parked again.
        loop {
            let (events, over) = match step(applier, aggregate_id, beside).await {
                Ok(Resumed::More(tally)) => (tally.applied, false),
                Ok(Resumed::Released(tally) | Resumed::Parked(tally)) => (tally.applied.max(1), true),
                Ok(Resumed::Nothing) => (0, true),
                // It is not open any more, until it is resumed.
                Err(error) if error.is_paused() => return Ok(Some(POLL)),
                Err(error) => return Err(error),
            };
            if pace.is_over(events, rate) || stop.is_cancelled() {
                return Ok(Some(pace.rest()));
            }
            if over {
                break;
            }
        }
    }
    Ok(None)
}

impl Queue for Redrive {
    type Error = Error;

    async fn open(&self) -> Result<Vec<Uuid>, Error> {
        operations::finish(&self.applier.pool).await?;
        let Applier { projection, topic, pool, .. } = &self.applier;
        Ok(decided::open(pool, Some(projection.name()), topic, OPERATIONS).await?)
    }

    async fn turn(&self, operation: Uuid, stop: &CancellationToken) -> Result<Duration, Error> {
        let Applier { projection, topic, pool, .. } = &self.applier;
        let sequences = decided::sequences(pool, projection.name(), topic, operation, DECISIONS).await?;
        let last = sequences.len() < DECISIONS as usize;
        let mut pace = Pace::begin();
        if let Some(rest) = redrive(&self.applier, sequences, &mut pace, stop).await? {
            return Ok(rest);
        }
        if last {
            operations::finish(&self.applier.pool).await?;
            return Ok(pace.rest().max(POLL));
        }
        Ok(pace.rest())
    }
}
