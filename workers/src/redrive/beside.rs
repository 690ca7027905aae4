//! Decisions about dead letters of generations that are not live: of one that is built, of the one before. The code that keeps
//! the generation carries them out, of all topics of its projection.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::queue::{self, Pace, Queue};
use super::{DECISIONS, OPERATIONS, POLL, redrive};
use crate::apply::{Applier, Error};
use crate::dead_letters::decided;
use crate::operations;

/// The dead letters of one projection's generations that are not live.
#[derive(Debug, Clone)]
pub(crate) struct Beside {
    pub applier: Applier,
}

impl Beside {
    pub async fn run(self, stop: CancellationToken) {
        queue::run("redriving beside", &self, &stop).await;
    }
}

impl Queue for Beside {
    type Error = Error;

    async fn open(&self) -> Result<Vec<Uuid>, Error> {
        operations::finish(&self.applier.pool).await?;
        Ok(decided::open_beside(&self.applier.pool, self.applier.projection, OPERATIONS).await?)
    }

    async fn turn(&self, operation: Uuid, stop: &CancellationToken) -> Result<Duration, Error> {
        let Applier { projection, pool, .. } = &self.applier;
        let sequences = decided::sequences_beside(pool, *projection, operation, DECISIONS).await?;
        let last = sequences.len() < DECISIONS as usize;
        let mut pace = Pace::begin();
        if let Some(rest) = redrive(&self.applier, sequences, &mut pace, stop).await? {
            return Ok(rest);
        }
        if last {
            operations::finish(pool).await?;
            return Ok(pace.rest().max(POLL));
        }
        Ok(pace.rest())
    }
}
