//! The sweep: moves the settled position, forgets what lies below it, and applies what the bus lost.
//!
//! It reads the store, not the bus. An event that is still unsettled when the bus had its time is taken from the store,
//! so that a loss in the bus can never become a loss in a read model.

use std::time::Duration;

use event_store::tail::Head;
use event_store::{database, read};
use events::{EventId, Position};
use kill_points::kill_point;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

use crate::apply::{self, Applier, Mode};
use crate::retry;
use crate::verdict::Event;

/// Positions looked at in one statement.
const WINDOW: i64 = 10_000;

/// Unsettled events looked at, and taken from the store if they are overdue, at a time.
const BATCH: usize = 1000;

/// The shortest time between two sweeps, so that a busy store is not swept for every append.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, Clone)]
pub struct Sweep {
    pub applier: Applier,
    pub head: Head,
    /// How long the bus may take to deliver an event before the sweep takes it from the store.
    pub grace: Duration,
}

/// Where the projection stands before a look.
struct Progress {
    generation: i32,
    settled: Position,
    /// How many holds had ended.
    releases: i64,
}

/// An unsettled event of the window.
struct Unsettled {
    event_id: EventId,
    position: Position,
    age: Duration,
}

impl Sweep {
    /// Sweeps until stopped.
    pub async fn run(self, stop: CancellationToken) {
        while let Some(settled) = retry::until_done("sweeping", &stop, || self.pass(&stop)).await {
            let wait = async {
                tokio::time::sleep(PAUSE).await;
                self.head.past(settled).await;
            };
            if stop.run_until_cancelled(wait).await.is_none() {
                break;
            }
        }
    }

    /// Sweeps up to the head of the store, or to the first event for which the bus still has time.
    async fn pass(&self, stop: &CancellationToken) -> Result<Position, apply::Error> {
        loop {
            if let Some(settled) = database::heard("sweeping", self.step(stop)).await? {
                return Ok(settled);
            }
        }
    }

    /// Sweeps a window; how far it is settled, if there is nothing more to do for now.
    async fn step(&self, stop: &CancellationToken) -> Result<Option<Position>, apply::Error> {
        let progress = self.progress().await?;
        let head = read::head(&self.applier.pool).await?;
        let upto = Position(head.0.min(progress.settled.0 + WINDOW));
        let unsettled = self.unsettled(&progress, upto).await?;
        kill_point!("sweep.looked");
        let reached = unsettled.first().map_or(upto, |first| Position(first.position.0 - 1));
        self.settle(&progress, reached.max(progress.settled)).await?;
        kill_point!("sweep.settled");

        let overdue: Vec<_> =
            unsettled.iter().filter(|event| event.age >= self.grace).map(|event| event.event_id).collect();
        if stop.is_cancelled() || overdue.is_empty() && (reached == head || reached < upto) {
            // Not what it reached: a hold that ended meanwhile keeps it from settling, and it must look again.
            return Ok(Some(self.progress().await?.settled));
        }
        let events: Vec<Event> = read::by_id(&self.applier.pool, &overdue).await?.into_iter().map(Arc::new).collect();
        self.applier.apply(&events, Mode::Sweep).await?;
        kill_point!("sweep.applied");
        Ok(None)
    }

    async fn progress(&self) -> sqlx::Result<Progress> {
        let row = sqlx::query!(
            "select generation, settled_position, releases
             from projections join projection_progress using (generation)
             where name = $1 and projection = name",
            self.applier.projection.name()
        )
        .fetch_one(&self.applier.pool)
        .await?;
        Ok(Progress { generation: row.generation, settled: Position(row.settled_position), releases: row.releases })
    }

    async fn unsettled(&self, progress: &Progress, upto: Position) -> sqlx::Result<Vec<Unsettled>> {
        let types = self.applier.projection.topic().aggregate_types;
        let rows = sqlx::query_file!(
            "src/sweep/unsettled.sql",
            self.applier.projection.name(),
            progress.generation,
            progress.settled.0,
            upto.0,
            types as &[&str],
            BATCH as i64
        )
        .fetch_all(&self.applier.pool)
        .await?;
        let event = |event_id, position, age_seconds: f64| Unsettled {
            event_id: EventId(event_id),
            position: Position(position),
            age: Duration::try_from_secs_f64(age_seconds).unwrap_or_default(),
        };
        Ok(rows.into_iter().map(|row| event(row.event_id, row.position, row.age_seconds)).collect())
    }

    async fn settle(&self, progress: &Progress, position: Position) -> sqlx::Result<()> {
        let Progress { generation, releases, settled } = *progress;
        sqlx::query_file!(
            "src/sweep/settle.sql",
            self.applier.projection.name(),
            generation,
            position.0,
            releases,
            settled.0
        )
        .execute(&self.applier.pool)
        .await
        .map(drop)
    }
}
