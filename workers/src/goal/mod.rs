//! The goal of a worker that is to end: what was in the store when it began is settled, and what people had asked for by then is
//! done.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use event_store::read;
use events::{Position, Topic};
use read_model::AnyProjection;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::retry;

/// How often it is looked at.
const POLL: Duration = Duration::from_millis(500);

/// The read models of a topic, and how far they are to be settled.
#[derive(Debug)]
pub struct Goal {
    topic: &'static Topic,
    projections: Vec<&'static dyn AnyProjection>,
    head: Position,
    began: DateTime<Utc>,
}

/// How it came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything up to here is settled.
    Reached(Position),
    /// It never will be: these read models were built by another version of the code.
    Outdated(Vec<String>),
}

/// What is not done yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Left {
    /// Read models, and up to where they are settled; nothing, if they are not in the database.
    unsettled: Vec<(String, Option<i64>)>,
    outdated: Vec<String>,
    /// Repairs, or decisions about dead letters.
    operations: bool,
}

impl Goal {
    /// From the store as it is now. Waits for the database; `None`: it was stopped.
    pub async fn set(
        pool: &PgPool,
        topic: &'static Topic,
        projections: Vec<&'static dyn AnyProjection>,
        stop: &CancellationToken,
    ) -> Option<Self> {
        let look = async || {
            let began = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(pool).await?;
            Ok::<_, sqlx::Error>((began, read::head(pool).await?))
        };
        let (began, head) = retry::until_done("looking at the store", stop, look).await?;
        Some(Self { topic, projections, head, began })
    }

    /// Waits until it is reached, or never will be; `None`: it was stopped before.
    pub async fn reached(&self, pool: &PgPool, stop: &CancellationToken) -> Option<Outcome> {
        let mut said = Left::default();
        loop {
            let left = retry::until_done("looking how far it is settled", stop, || self.look(pool)).await?;
            if !left.outdated.is_empty() {
                return Some(Outcome::Outdated(left.outdated));
            }
            if left == Left::default() {
                return Some(Outcome::Reached(self.head));
            }
            if left != said {
                tracing::info!(topic = self.topic.name, upto = self.head.0, "to be settled yet: {left}");
                said = left;
            }
            stop.run_until_cancelled(tokio::time::sleep(POLL)).await?;
        }
    }

    async fn look(&self, pool: &PgPool) -> sqlx::Result<Left> {
        let names: Vec<_> = self.projections.iter().map(|it| it.name()).collect();
        let rows = sqlx::query!(
            "select live.name, live.version, progress.settled_position
             from projections as live
             join projection_progress as progress on progress.projection = live.name and progress.generation = live.generation
             where live.name = any($1) and progress.topic = $2",
            &names as &[&str],
            self.topic.name
        )
        .fetch_all(pool)
        .await?;
        let mut left = Left::default();
        for projection in &self.projections {
            let name = projection.name();
            match rows.iter().find(|row| row.name == name) {
                None => left.unsettled.push((name.to_owned(), None)),
                Some(row) if row.settled_position >= self.head.0 => {}
                Some(row) if row.version != projection.version() as i32 => left.outdated.push(name.to_owned()),
                Some(row) => left.unsettled.push((name.to_owned(), Some(row.settled_position))),
            }
        }
        let open = sqlx::query_file_scalar!("src/goal/open.sql", self.topic.name, &names as &[&str], self.began);
        left.operations = left.unsettled.is_empty() && open.fetch_one(pool).await?;
        Ok(left)
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said: Vec<_> = self
            .unsettled
            .iter()
            .map(|(name, settled)| match settled {
                Some(settled) => format!("{name} is at {settled}"),
                None => format!("{name} is not in the database"),
            })
            .collect();
        if self.operations {
            said.push("operations that people asked for".to_owned());
        }
        f.write_str(&said.join(", "))
    }
}
