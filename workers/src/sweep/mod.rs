//! The sweep: moves the settled position, forgets what lies below it, and applies what the bus lost.
//!
//! It reads the store, not the bus. An event that is still unsettled after the grace period is taken from the store,
//! so that a loss in the bus can never become a loss in a read model.

mod marks;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use event_store::tail::Head;
use events::{EventId, Position};
use kill_points::kill_point;
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::apply::{self, Applier, Mode};
use crate::{pause, retry};
use marks::Marks;

/// Positions looked at in one statement.
const WINDOW: i64 = 10_000;

/// Unsettled events looked at, and taken from the store if they are overdue, at a time.
const BATCH: usize = 1000;

/// The shortest time between two sweeps, so that a busy store is not swept for every append.
const PAUSE: Duration = Duration::from_millis(200);

/// How often it is said that events were taken from the store.
const SAID_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub struct Sweep {
    pub applier: Applier,
    pub head: Head,
    /// How long the bus may take to deliver an event before the sweep takes it from the store.
    pub grace: Duration,
}

/// What a sweep knows from one step to the next.
#[derive(Debug, Default)]
struct Memory {
    marks: Mutex<Marks>,
    taken: Mutex<Taken>,
}

/// Events that were taken from the store and not said yet, and when some were said last.
#[derive(Debug, Default)]
struct Taken {
    events: u64,
    said: Option<Instant>,
}

impl Taken {
    /// A bus that cannot be reached says nothing by itself. Returns how many are to be said, once a minute at most.
    fn more(&mut self, events: u64, now: Instant) -> Option<u64> {
        self.events += events;
        if self.events == 0 || self.said.is_some_and(|at| now.duration_since(at) < SAID_EVERY) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.events))
    }
}

/// Where the projection stands on the topic before a look.
#[derive(Debug, Clone, Copy)]
struct Progress {
    generation: i32,
    settled: Position,
    /// How many holds had ended.
    releases: i64,
    paused: bool,
}

/// An unsettled event of the window.
struct Unsettled {
    event_id: EventId,
    position: Position,
    age: Duration,
}

/// What a sweep has seen of the store.
struct Look {
    before: Progress,
    head: Position,
    /// The last position of the window.
    upto: Position,
    unsettled: Vec<Unsettled>,
}

/// What a pass has come to.
enum Swept {
    /// So far everything is settled, and there is nothing more to do for now.
    To(Position),
    /// What is left is for when the projection is not paused any more.
    Paused,
    /// What is left is for other code, until a generation of this code is live.
    Outdated,
}

impl Look {
    /// Everything up to here is settled.
    fn reached(&self) -> Position {
        let reached = self.unsettled.first().map_or(self.upto, |first| Position(first.position.0 - 1));
        reached.max(self.before.settled)
    }
}

impl Sweep {
    /// Sweeps until stopped.
    pub async fn run(self, stop: CancellationToken) {
        let memory = Memory::default();
        let mut paused = false;
        while let Some(swept) = retry::until_all_done("sweeping", &stop, || self.pass(&memory, &stop)).await {
            if paused != matches!(swept, Swept::Paused) {
                paused = !paused;
                let (projection, topic) = (self.applier.projection.name(), self.applier.topic.name);
                tracing::info!(projection, topic, paused, "whether events are left in the store has changed");
            }
            let wait = async {
                match swept {
                    Swept::To(settled) => {
                        tokio::time::sleep(PAUSE).await;
                        self.head.past(settled).await;
                    }
                    Swept::Paused | Swept::Outdated => tokio::time::sleep(pause::LOOK).await,
                }
            };
            if stop.run_until_cancelled(wait).await.is_none() {
                break;
            }
        }
    }

    /// Sweeps up to the head of the store, or to the first event for which the bus still has time.
    async fn pass(&self, memory: &Memory, stop: &CancellationToken) -> Result<Swept, apply::Error> {
        loop {
            if let Some(swept) = database::with_deadline("sweeping", self.step(memory, stop)).await? {
                return Ok(swept);
            }
        }
    }

    /// Sweeps a window; `None`: there is more to do.
    async fn step(&self, memory: &Memory, stop: &CancellationToken) -> Result<Option<Swept>, apply::Error> {
        let look = self.look_and_settle().await?;
        let (head, upto, reached) = (look.head, look.upto, look.reached());
        let seen =
            memory.marks.lock().expect("nothing panics while it holds this lock").see(head, Instant::now(), self.grace);
        let overdue: Vec<_> = look
            .unsettled
            .iter()
            .filter(|event| event.age >= self.grace || event.position <= seen)
            .map(|event| event.event_id)
            .collect();
        if stop.is_cancelled() || overdue.is_empty() && (reached == head || reached < upto) {
            return Ok(Some(Swept::To(reached)));
        }
        if look.before.paused {
            return Ok(Some(Swept::Paused));
        }
        // What is not good for one batch is still unsettled, and found by the next step.
        let (events, _) = self.applier.read(&overdue).await?;
        let tally = match self.applier.apply(&events, Mode::Sweep).await {
            Err(error) if error.is_paused() => return Ok(Some(Swept::Paused)),
            Err(error) if error.is_outdated() => return Ok(Some(Swept::Outdated)),
            applied => applied?,
        };
        kill_point!("sweep.applied");
        let taken =
            memory.taken.lock().expect("nothing panics while it holds this lock").more(tally.applied, Instant::now());
        if let Some(events) = taken {
            let (projection, topic) = (self.applier.projection.name(), self.applier.topic.name);
            tracing::info!(projection, topic, events, "taken from the store: the bus has not delivered them in time");
        }
        Ok(None)
    }

    /// Looks, and settles what it saw to be settled. If holds ended in the meantime it looks again while none can end, so
    /// that it gets on however many end.
    async fn look_and_settle(&self) -> sqlx::Result<Look> {
        let mut db = database::Lent::by(&self.applier.pool).await?;
        let looked = self.look_and_settle_on(&mut db).await;
        db.give_back();
        looked
    }

    async fn look_and_settle_on(&self, db: &mut PgConnection) -> sqlx::Result<Look> {
        let before = self.progress(&mut *db).await?;
        let look = self.look(&mut *db, before).await?;
        kill_point!("sweep.looked");
        let settled = self.settle(&mut *db, &look).await?;
        kill_point!("sweep.settled");
        if settled || look.reached() == look.before.settled {
            return Ok(look);
        }
        let now = self.progress(&mut *db).await?;
        if (now.generation, now.releases) == (look.before.generation, look.before.releases) {
            // Another worker's sweep was first.
            return Ok(look);
        }
        let mut tx = db.begin().await?;
        let before = self.progress_locked(&mut tx).await?;
        let look = self.look(&mut tx, before).await?;
        self.settle(&mut tx, &look).await?;
        tx.commit().await?;
        Ok(look)
    }

    async fn look(&self, db: &mut PgConnection, before: Progress) -> sqlx::Result<Look> {
        let head = self.head.look(&mut *db).await?;
        let upto = Position(head.0.min(before.settled.0 + WINDOW));
        let unsettled = self.unsettled(db, &before, upto).await?;
        Ok(Look { before, head, upto, unsettled })
    }

    async fn progress(&self, db: &mut PgConnection) -> sqlx::Result<Progress> {
        let row = sqlx::query!(
            r#"select
                   generation, settled_position, releases,
                   coalesce(paused_until > clock_timestamp(), false) as "paused!"
               from projections join projection_progress using (generation)
               where name = $1 and projection = name and projection_progress.topic = $2"#,
            self.applier.projection.name(),
            self.applier.topic.name
        )
        .fetch_one(db)
        .await?;
        Ok(Progress {
            generation: row.generation,
            settled: Position(row.settled_position),
            releases: row.releases,
            paused: row.paused,
        })
    }

    async fn progress_locked(&self, db: &mut PgConnection) -> sqlx::Result<Progress> {
        let row = sqlx::query_file!("src/sweep/progress.sql", self.applier.projection.name(), self.applier.topic.name)
            .fetch_one(db)
            .await?;
        Ok(Progress {
            generation: row.generation,
            settled: Position(row.settled_position),
            releases: row.releases,
            paused: row.paused,
        })
    }

    async fn unsettled(
        &self,
        db: &mut PgConnection,
        progress: &Progress,
        upto: Position,
    ) -> sqlx::Result<Vec<Unsettled>> {
        let types = self.applier.topic.aggregate_types;
        let rows = sqlx::query_file!(
            "src/sweep/unsettled.sql",
            self.applier.projection.name(),
            progress.generation,
            progress.settled.0,
            upto.0,
            types as &[&str],
            BATCH as i64
        )
        .fetch_all(db)
        .await?;
        let event = |event_id, position, age_seconds: f64| Unsettled {
            event_id: EventId(event_id),
            position: Position(position),
            age: Duration::try_from_secs_f64(age_seconds).unwrap_or_default(),
        };
        Ok(rows.into_iter().map(|row| event(row.event_id, row.position, row.age_seconds)).collect())
    }

    /// Whether the settled position moved; the heartbeat is written in any case.
    async fn settle(&self, db: &mut PgConnection, look: &Look) -> sqlx::Result<bool> {
        let Progress { generation, settled, releases, .. } = look.before;
        let (name, topic, reached) = (self.applier.projection.name(), self.applier.topic.name, look.reached());
        let undisturbed =
            sqlx::query_file_scalar!("src/sweep/settle.sql", name, generation, reached.0, releases, settled.0, topic);
        Ok(undisturbed.fetch_optional(db).await? == Some(true) && reached > settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_bus_did_not_deliver_is_said_at_once_and_then_once_a_minute() {
        let (mut taken, start) = (Taken::default(), Instant::now());
        assert_eq!(taken.more(0, start), None);
        assert_eq!(taken.more(3, start), Some(3));
        assert_eq!(taken.more(4, start + SAID_EVERY / 2), None);
        assert_eq!(taken.more(5, start + SAID_EVERY), Some(9));
        assert_eq!(taken.more(0, start + SAID_EVERY * 3), None);
    }
}
