//! Applying events to one projection: judge, heal, fold, and one transaction for rows, versions and ids.
//!
//! Whoever has events (live delivery, sweep, replay) ends here; there is no second way into a read model.

mod ledger;
mod redrive;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use event_store::{database, read};
use events::{AggregateId, Topic, Version};
use kill_points::kill_point;
use projections::{AnyProjection, Folded};
use sqlx::{Connection, PgConnection, PgPool};

use crate::fence::{self, Fence};
use crate::park::{self, Reason};
use crate::verdict::{self, Event, Verdict};
use crate::{Metrics, retry};
use ledger::Ledger;

pub use redrive::Redriven;

/// Missing versions fetched at a time.
const HEAL: i32 = 2000;

/// Tries of a batch that lost a race (serialization, deadlock, first with an aggregate) before the race is reported.
const RACES: u32 = 20;

/// On whose behalf events are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Live,
    Sweep,
    Replay,
    Redrive,
}

impl Mode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Sweep => "sweep",
            Self::Replay => "replay",
            Self::Redrive => "redrive",
        }
    }
}

/// What became of events; healed ones are counted too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub applied: u64,
    pub duplicate: u64,
    /// Of a type that the projection does not know; settled all the same.
    pub skipped: u64,
    pub parked: u64,
    /// Waiting behind a parked event.
    pub held: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.applied += other.applied;
        self.duplicate += other.duplicate;
        self.skipped += other.skipped;
        self.parked += other.parked;
        self.held += other.held;
    }
}

/// Nothing was applied, and another try may succeed without anybody doing anything, except for `Fenced`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}", database::describe(.0))]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Fenced(fence::Error),
    /// Another worker was first with an aggregate.
    #[error("lost a race for an aggregate")]
    Raced,
}

impl From<fence::Error> for Error {
    fn from(error: fence::Error) -> Self {
        match error {
            fence::Error::Database(error) => Self::Database(error),
            refused => Self::Fenced(refused),
        }
    }
}

impl From<projections::Error> for Error {
    fn from(error: projections::Error) -> Self {
        match error {
            projections::Error::Database(error) => Self::Database(error),
        }
    }
}

impl Error {
    /// Trying again may help; what does not is for an operator.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Raced => true,
            Self::Database(error) => database::is_transient(error),
            Self::Fenced(_) => false,
        }
    }

    /// The events themselves are to blame: they will fail again however often they are tried.
    pub(crate) fn is_poison(&self) -> bool {
        matches!(self, Self::Database(error) if database::blames_data(error))
    }

    fn is_race(&self) -> bool {
        match self {
            Self::Raced => true,
            Self::Database(sqlx::Error::Database(error)) => error.code().is_some_and(|code| code.starts_with("40")),
            _ => false,
        }
    }
}

/// Applies events to one projection. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Applier {
    pub projection: &'static dyn AnyProjection,
    pub pool: PgPool,
    pub metrics: Metrics,
}

impl Applier {
    fn topic(&self) -> &'static Topic {
        self.projection.topic()
    }

    /// Settles all of `events`, in any order and however often they were applied before. When it returns `Ok`, each is
    /// applied, skipped, parked, or waits behind a parked one, durably.
    pub async fn apply(&self, events: &[Event], mode: Mode) -> Result<Tally, Error> {
        let mut tally = Tally::default();
        let mut batches = vec![events.to_vec()];
        while let Some(mut batch) = batches.pop() {
            verdict::in_order(&mut batch);
            match self.race(&mut batch, mode).await {
                Ok(Done { tally: done, early, .. }) => {
                    self.count(done, mode);
                    tally += done;
                    if !early.is_empty() {
                        batches.push(early);
                    }
                }
                // One event fails the whole batch. Halve it until that event is alone; halves keep the order, and
                // what follows the poison in its aggregate will find it held.
                Err(error) if error.is_poison() && batch.len() > 1 => {
                    let second = batch.split_off(batch.len() / 2);
                    batches.push(second);
                    batches.push(batch);
                }
                Err(Error::Database(error)) if database::blames_data(&error) => {
                    let done = self.park(&batch[0], &database::describe(&error)).await?;
                    self.count(done, mode);
                    tally += done;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(tally)
    }

    async fn race(&self, batch: &mut Vec<Event>, mode: Mode) -> Result<Done, Error> {
        let mut attempt = 0;
        loop {
            let timer = self.metrics.apply_timer(self.topic(), self.projection.name(), mode);
            match database::heard("applying", self.transaction(batch, mode)).await {
                Err(error) if error.is_race() && attempt < RACES => {
                    timer.stop_and_discard();
                    self.metrics.retried_transactions.inc();
                    tokio::time::sleep(retry::backoff(attempt.min(3), rand::random())).await;
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    /// One try of one batch. What the store has before early events is put into `batch`.
    async fn transaction(&self, batch: &mut Vec<Event>, mode: Mode) -> Result<Done, Error> {
        let mut connection = self.pool.acquire().await?;
        let mut tx = connection.begin().await?;
        let fence = Fence::enter(&mut tx, self.projection).await?;
        kill_point!("apply.fenced");
        let ids = batch.iter().map(|event| event.aggregate_id).collect();
        let mut ledger = Ledger::lock(&mut tx, self.projection.name(), fence, ids).await?;
        kill_point!("apply.locked");
        let holes = self.heal(&mut tx, batch, &ledger).await?;
        kill_point!("apply.healed");
        let done = self.settle(&mut tx, &mut ledger, batch, &holes).await?;
        if ledger.is_changed() {
            if !ledger.record(&mut tx).await? {
                return Err(Error::Raced);
            }
            kill_point!("apply.recorded");
            tx.commit().await?;
            kill_point!("apply.committed");
            if mode == Mode::Live {
                self.metrics.observe_freshness(self.topic(), self.projection.name(), &done.fresh);
            }
        }
        Ok(done)
    }

    /// Judges each event and does what follows: fold, park, or nothing. Then writes the rows.
    async fn settle(
        &self,
        db: &mut PgConnection,
        ledger: &mut Ledger,
        events: &[Event],
        holes: &BTreeSet<AggregateId>,
    ) -> Result<Done, Error> {
        let mut done = Done::default();
        let mut pending = self.projection.begin();
        for event in events {
            match ledger.judge(event) {
                Verdict::Duplicate => done.tally.duplicate += 1,
                Verdict::Held => done.tally.held += 1,
                Verdict::Early if holes.contains(&event.aggregate_id) => {
                    let error = "versions before it are missing from the store";
                    self.hold(db, ledger, event, Reason::MissingVersions, error).await?;
                    done.tally.parked += 1;
                }
                Verdict::Early => done.early.push(event.clone()),
                Verdict::Fresh => match pending.fold(event) {
                    Ok(folded) => {
                        ledger.applied(event);
                        done.fresh.push(event.recorded_at);
                        match folded {
                            Folded::Applied => done.tally.applied += 1,
                            Folded::Skipped => done.tally.skipped += 1,
                        }
                    }
                    Err(error) => {
                        self.hold(db, ledger, event, Reason::WrongData, &error.to_string()).await?;
                        done.tally.parked += 1;
                    }
                },
            }
        }
        if done.tally.applied > 0 {
            pending.write(db).await?;
            kill_point!("apply.written");
        }
        Ok(done)
    }

    /// Fetches what is missing before early events, as far as is good for one batch. Returns the aggregates of which the
    /// store itself lacks versions.
    async fn heal(
        &self,
        db: &mut PgConnection,
        batch: &mut Vec<Event>,
        ledger: &Ledger,
    ) -> Result<BTreeSet<AggregateId>, Error> {
        let missing = verdict::missing(batch, ledger.aggregates());
        if missing.is_empty() {
            return Ok(BTreeSet::new());
        }
        let found = read::ranges(&mut *db, &missing, HEAL).await?;
        let mut lacking: BTreeMap<AggregateId, i64> = BTreeMap::new();
        let versions = |from: Version, to: Version| i64::from(to.0) - i64::from(from.0) + 1;
        for &(aggregate_id, from, to) in &missing {
            *lacking.entry(aggregate_id).or_default() += versions(from, to);
        }
        // Not asked for yet, and so not lacking.
        for &(aggregate_id, from, to) in &found.rest {
            lacking.entry(aggregate_id).and_modify(|count| *count -= versions(from, to));
        }
        for event in &found.events {
            lacking.entry(event.aggregate_id).and_modify(|count| *count -= 1);
        }
        batch.extend(found.events.into_iter().map(Arc::new));
        verdict::in_order(batch);
        Ok(lacking.into_iter().filter(|(_, count)| *count > 0).map(|(aggregate_id, _)| aggregate_id).collect())
    }

    async fn hold(
        &self,
        db: &mut PgConnection,
        ledger: &mut Ledger,
        event: &Event,
        reason: Reason,
        error: &str,
    ) -> Result<(), Error> {
        park::event(db, self.projection, ledger.fence, event, reason, error).await?;
        kill_point!("park.inserted");
        ledger.hold(event.aggregate_id);
        Ok(())
    }

    /// Parks the one event that Postgres refuses, and holds its aggregate.
    async fn park(&self, event: &Event, error: &str) -> Result<Tally, Error> {
        let mut tally = Tally::default();
        let mut tx = self.pool.begin().await?;
        let fence = Fence::enter(&mut tx, self.projection).await?;
        let ids = BTreeSet::from([event.aggregate_id]);
        let mut ledger = Ledger::lock(&mut tx, self.projection.name(), fence, ids).await?;
        match ledger.judge(event) {
            Verdict::Duplicate => tally.duplicate += 1,
            Verdict::Held => tally.held += 1,
            Verdict::Early => return Err(Error::Raced),
            Verdict::Fresh => {
                self.hold(&mut tx, &mut ledger, event, Reason::WriteFailed, error).await?;
                tally.parked += 1;
            }
        }
        if !ledger.record(&mut tx).await? {
            return Err(Error::Raced);
        }
        kill_point!("park.recorded");
        tx.commit().await?;
        kill_point!("park.committed");
        Ok(tally)
    }

    fn count(&self, tally: Tally, mode: Mode) {
        self.metrics.count(self.topic(), self.projection.name(), mode, tally);
    }
}

#[derive(Debug, Default)]
struct Done {
    tally: Tally,
    /// Events whose predecessors did not all fit into this batch.
    early: Vec<Event>,
    /// When the events that were settled had been appended.
    fresh: Vec<DateTime<Utc>>,
}
