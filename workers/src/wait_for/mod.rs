//! Read your writes: waiting until a read model has what was appended.
//!
//! The append's answer names aggregate, version and position. Of one aggregate the ledger says exactly how far it is, and
//! nobody waits for what others are behind with; where only a position is named, everything up to it must be settled.
//!
//! However many wait, there is one statement for all of them at a time, and a pause between two. Whoever has the turn looks
//! for all; if he goes, the next has it. Nobody waits for longer than he said.

mod answer;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use events::{AggregateId, Position, Version};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use answer::{Answer, Outcome};

use crate::pause::Pause;

/// Between two looks, so that there are 20 a second at most.
const GAP: Duration = Duration::from_millis(50);

/// Those who wait at the same time, in one process.
pub const MOST: usize = 1000;

/// How long a look may take. Whoever wants to wait less waits for one look all the same.
const LIMIT: Duration = Duration::from_secs(5);

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub projection: &'static str,
    /// The topic on which the aggregate speaks; `None`: all of the projection's.
    pub topic: Option<&'static str>,
    /// `None`: everything up to the position.
    pub event: Option<(AggregateId, Version)>,
    pub position: Position,
}

/// How a projection stood at a look.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    at: Instant,
    /// It has a live generation.
    established: bool,
    pause: Option<Pause>,
    version: Version,
    held: bool,
    letter: Option<Uuid>,
    settled: Position,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}", database::describe(.0))]
    Database(#[from] sqlx::Error),
    #[error("{MOST} wait already; ask again")]
    TooMany,
    #[error("this process is about to end; ask again")]
    Ending,
    #[error("projection {0} is not in the database yet: run `fleet migrate`")]
    Missing(&'static str),
}

/// All who wait in this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Waits {
    pool: PgPool,
    stop: CancellationToken,
    waiting: Arc<Mutex<Waiting>>,
    /// Whoever has it looks for all; when that was done last.
    turn: Arc<tokio::sync::Mutex<Option<Instant>>>,
}

#[derive(Debug, Default)]
struct Waiting {
    last: i32,
    all: BTreeMap<i32, (Wanted, watch::Sender<Option<Seen>>)>,
}

/// One who waits, until it is dropped.
struct Place<'a> {
    waits: &'a Waits,
    number: i32,
    seen: watch::Receiver<Option<Seen>>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waits.waiting().all.remove(&self.number);
    }
}

impl Waits {
    /// Nobody waits longer than until `stop`.
    pub fn new(pool: PgPool, stop: CancellationToken) -> Self {
        Self { pool, stop, waiting: Arc::default(), turn: Arc::default() }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nothing panics while it holds this lock")
    }

    /// Waits so long at most, and looks once at least.
    ///
    /// # Errors
    /// Nothing can be said now.
    pub async fn wait(&self, wanted: Wanted, patience: Duration) -> Result<Answer, Error> {
        let began = Instant::now();
        let mut place = self.join(wanted)?;
        let mut first: Option<Seen> = None;
        loop {
            let until = began + if first.is_some() { patience } else { patience.max(LIMIT) };
            tokio::select! {
                biased;
                changed = place.seen.changed() => changed.map_err(|_| Error::Ending)?,
                () = self.stop.cancelled() => return Err(Error::Ending),
                () = tokio::time::sleep_until(until) => {
                    let Some(first) = first else { return Err(database::timed_out("looking").into()) };
                    let last = place.seen.borrow().clone().unwrap_or_else(|| first.clone());
                    return Ok(answer::behind(&wanted, &first, &last, began.elapsed()));
                }
                looked = self.look_in_turn() => looked?,
            }
            let Some(seen) = place.seen.borrow_and_update().clone() else { continue };
            if !seen.established {
                return Err(Error::Missing(wanted.projection));
            }
            if let Some(answer) = answer::decided(&wanted, &seen, began.elapsed()) {
                return Ok(answer);
            }
            first.get_or_insert(seen);
        }
    }

    fn join(&self, wanted: Wanted) -> Result<Place<'_>, Error> {
        let mut waiting = self.waiting();
        if waiting.all.len() >= MOST {
            return Err(Error::TooMany);
        }
        let (sender, seen) = watch::channel(None);
        waiting.last = waiting.last.wrapping_add(1);
        let number = waiting.last;
        waiting.all.insert(number, (wanted, sender));
        Ok(Place { waits: self, number, seen })
    }

    /// Waits for the turn, and looks once.
    async fn look_in_turn(&self) -> Result<(), Error> {
        let mut last = self.turn.lock().await;
        if let Some(last) = *last {
            tokio::time::sleep_until(last + GAP).await;
        }
        *last = Some(Instant::now());
        match tokio::time::timeout(LIMIT, self.look()).await {
            Ok(looked) => Ok(looked?),
            Err(_) => Err(database::timed_out("looking").into()),
        }
    }

    /// Looks for all who wait by now.
    async fn look(&self) -> sqlx::Result<()> {
        let (mut numbers, mut projections, mut aggregates, mut topics) = (vec![], vec![], vec![], vec![]);
        for (number, (wanted, _)) in &self.waiting().all {
            numbers.push(*number);
            projections.push(wanted.projection);
            aggregates.push(wanted.event.map(|(id, _)| id.0));
            topics.push(wanted.topic);
        }
        let rows = sqlx::query_file!(
            "src/wait_for/looks.sql",
            &numbers,
            &projections as &[&str],
            &aggregates as &[Option<Uuid>],
            &topics as &[Option<&str>]
        )
        .fetch_all(&self.pool)
        .await?;
        let at = Instant::now();
        let waiting = self.waiting();
        for row in rows {
            let Some((_, sender)) = waiting.all.get(&row.number) else { continue };
            let pause = Pause::of(row.pause_reason, row.paused_by, row.paused_at, row.until);
            sender.send_replace(Some(Seen {
                at,
                established: row.established,
                pause: pause.filter(|_| row.paused),
                version: Version(row.version.unwrap_or_default()),
                held: row.held.unwrap_or_default(),
                letter: row.letter,
                settled: Position(row.settled.unwrap_or_default()),
            }));
        }
        Ok(())
    }
}
