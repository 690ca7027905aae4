//! Dead letters that are no event of the store: messages. They hold nothing and wait for nothing, so that trying one
//! again is resolving it again.

use std::collections::BTreeMap;
use std::time::Duration;

use bus::Message;
use kill_points::kill_point;
use sqlx::types::Json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::queue::{self, Pace, Queue};
use super::{DECISIONS, OPERATIONS, POLL};
use crate::apply::{self, Applier, Mode, Tally};
use crate::received::Received;
use crate::resolve::{self, Resolver};
use crate::{dead_letters, operations};

type Attributes = BTreeMap<String, String>;

/// The parked messages of one topic.
#[derive(Debug, Clone)]
pub struct RedriveMessages {
    pub resolver: Resolver,
    pub appliers: Vec<Applier>,
}

struct Decision {
    id: Uuid,
    discard: bool,
    operation: Uuid,
    rate: Option<f64>,
    message: Message,
    message_id: String,
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

    async fn decisions(&self, operation: Uuid) -> sqlx::Result<Vec<Decision>> {
        let rows = sqlx::query_file!("src/redrive/messages.sql", self.resolver.topic.name, operation, DECISIONS)
            .fetch_all(&self.resolver.pool)
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| Decision {
                id: row.id,
                discard: row.decision == "discard",
                operation: row.operation_id,
                rate: row.rate,
                message: Message { data: row.payload.into(), attributes: row.attributes.0 },
                message_id: row.message_id,
            })
            .collect())
    }

    /// What it speaks of is applied, or it is parked again, which takes the decision away.
    async fn retry(&self, decision: &Decision) -> Result<(), Error> {
        let received = Received { message: &decision.message, message_id: &decision.message_id };
        let mut resolved = self.resolver.messages(&[received]).await?;
        kill_point!("redrive.message_resolved");
        loop {
            for applier in &self.appliers {
                applier.apply(&resolved.events, Mode::Redrive).await?;
            }
            if resolved.rest.is_empty() {
                return Ok(());
            }
            resolved = self.resolver.part(&resolved.rest).await?;
        }
    }

    async fn settle(&self, decision: &Decision) -> sqlx::Result<()> {
        let mut tx = database::begin(&self.resolver.pool).await?;
        if decision.discard {
            dead_letters::discard(&mut tx, decision.id).await?;
        } else {
            sqlx::query!(
                "delete from parked_events where id = $1 and operation_id = $2",
                decision.id,
                decision.operation
            )
            .execute(&mut *tx)
            .await?;
        }
        let parked = sqlx::query_scalar!(
            r#"select count(*) as "count!" from parked_events where id = $1 and decision is null"#,
            decision.id
        )
        .fetch_one(&mut *tx)
        .await?;
        let tally = Tally { parked: parked as u64, ..Tally::default() };
        operations::advance(&mut tx, decision.operation, 1, tally).await?;
        tx.commit().await?;
        kill_point!("redrive.message_settled");
        Ok(())
    }
}

impl Queue for RedriveMessages {
    type Error = Error;

    async fn open(&self) -> Result<Vec<Uuid>, Error> {
        operations::finish(&self.resolver.pool).await?;
        let topic = Some(self.resolver.topic.name);
        let open = sqlx::query_file_scalar!("src/redrive/open.sql", None::<&str>, topic, OPERATIONS);
        Ok(open.fetch_all(&self.resolver.pool).await?)
    }

    async fn turn(&self, operation: Uuid, stop: &CancellationToken) -> Result<Duration, Error> {
        let decisions = self.decisions(operation).await?;
        let last = decisions.len() < DECISIONS as usize;
        let mut pace = Pace::begin();
        for decision in decisions {
            if !decision.discard {
                self.retry(&decision).await?;
            }
            self.settle(&decision).await?;
            if pace.is_over(1, decision.rate) || stop.is_cancelled() {
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
