//! Dead letters that are no event of the store: messages. They hold nothing and wait for nothing, so that trying one
//! again is resolving it again.

use std::time::Duration;

use database::Lent;
use kill_points::kill_point;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::queue::{self, Pace, Queue};
use super::{DECISIONS, OPERATIONS, POLL};
use crate::apply::{self, Applier, Mode, Tally};
use crate::dead_letters::decided::{self, ParkedMessage};
use crate::operations;
use crate::received::Received;
use crate::resolve::{self, Resolver};

/// The parked messages of one topic.
#[derive(Debug, Clone)]
pub struct RedriveMessages {
    pub resolver: Resolver,
    pub appliers: Vec<Applier>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("resolving: {0}")]
    Resolve(#[from] resolve::Error),
    #[error("applying: {0}")]
    Apply(#[from] apply::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Apply(error.into())
    }
}

impl RedriveMessages {
    pub async fn run(self, stop: CancellationToken) {
        // What is tried again has waited long enough for whatever was to come before it.
        let resolver = Resolver { patience: Duration::ZERO, ..self.resolver };
        queue::run("redriving messages", &Self { resolver, ..self }, &stop).await;
    }

    /// What it speaks of is applied, or it is parked again, which takes the decision away.
    async fn retry(&self, parked: &ParkedMessage) -> Result<(), Error> {
        let received = Received::new(&parked.message, &parked.message_id);
        let mut resolved = self.resolver.messages(&[received]).await?;
        kill_point!("redrive.message_resolved");
        loop {
            for applier in &self.appliers {
                applier.apply_or_leave(&resolved.events, Mode::Redrive).await?;
            }
            if resolved.rest.is_empty() {
                return Ok(());
            }
            resolved = self.resolver.part(&resolved.rest).await?;
        }
    }

    async fn settle(&self, message: &ParkedMessage) -> sqlx::Result<()> {
        let mut db = Lent::by(&self.resolver.pool).await?;
        let mut tx = db.begin().await?;
        let parked = decided::take_message(&mut tx, message).await?;
        let tally = Tally { parked: parked.into(), ..Tally::default() };
        operations::advance(&mut tx, message.operation, 1, tally).await?;
        tx.commit().await?;
        db.give_back();
        kill_point!("redrive.message_settled");
        Ok(())
    }
}

impl Queue for RedriveMessages {
    type Error = Error;

    async fn open(&self) -> Result<Vec<Uuid>, Error> {
        operations::finish(&self.resolver.pool).await?;
        Ok(decided::open(&self.resolver.pool, None, self.resolver.topic, OPERATIONS).await?)
    }

    async fn turn(&self, operation: Uuid, stop: &CancellationToken) -> Result<Duration, Error> {
        let messages = decided::messages(&self.resolver.pool, self.resolver.topic, operation, DECISIONS).await?;
        let last = messages.len() < DECISIONS as usize;
        let mut pace = Pace::begin();
        for message in messages {
            if !message.discard {
                self.retry(&message).await?;
            }
            self.settle(&message).await?;
            if pace.is_over(1, message.rate) || stop.is_cancelled() {
                return Ok(pace.rest());
            }
        }
        if last {
            operations::finish(&self.resolver.pool).await?;
            return Ok(pace.rest().max(POLL));
        }
        Ok(pace.rest())
    }
}
