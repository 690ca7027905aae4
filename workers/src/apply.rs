//! Applying events to one projection: judge, heal, fold, and one transaction for rows, versions and ids.
//!
//! Whoever has events (live delivery, sweep, replay) ends here. The one other way into a read model is a step of a redrive,
//! `Applier::resume`, which begins and ends in the same way.

mod build;
mod error;
mod failing;
mod heal;
mod ledger;
mod resume;
mod spans;
mod stride;
mod work;

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use chrono::{DateTime, Utc};
use event_store::read;
use events::{AggregateId, EventId, Position, Topic};
use futures::FutureExt;
use kill_points::kill_point;
use read_model::{AnyProjection, Folded, Pending};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::timeout;

use crate::dead_letters::park::{self, Parked, Reason};
use crate::fence::Fence;
use crate::fold::{Refusal, decodes, fold};
use crate::part::panicked;
use crate::verdict::{Event, Verdict};
use crate::watch::{self, At};
use crate::{Metrics, retry};
use ledger::Ledger;
use spans::{Became, Spans};
pub(crate) use work::Condemned;
use work::Work;

pub(crate) use build::{Chunk, Pace};
pub use error::Error;
pub use failing::Failing;
pub(crate) use failing::News;
pub(crate) use resume::Refused;
pub use resume::Resumed;
pub use stride::Stride;

/// Tries of a batch that lost a race (serialization, deadlock, first with an aggregate) before the race is reported.
const RACES: u32 = 20;

/// A write that takes longer is named in the log while it goes on.
const LONG: Duration = Duration::from_secs(10);

async fn said_if_long<T>(at: At, events: usize, writing: impl Future<Output = T>) -> T {
    let mut writing = pin!(writing);
    if let Ok(written) = timeout(LONG, &mut writing).await {
        return written;
    }
    tracing::warn!(
        projection = at.projection,
        position = at.position.0,
        events,
        seconds = LONG.as_secs(),
        "its write goes on: a statement of it waits for a lock, which `fleet locks` shows and for which nothing is parked, or is slow: \
         Postgres ends it after a minute, and an event that is so slow alone three times is parked"
    );
    writing.await
}

/// On whose behalf events are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Live,
    Sweep,
    Replay,
    Redrive,
    Rebuild,
}

impl Mode {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::Live, Self::Sweep, Self::Replay, Self::Redrive, Self::Rebuild];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Sweep => "sweep",
            Self::Replay => "replay",
            Self::Redrive => "redrive",
            Self::Rebuild => "rebuild",
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

/// Applies events of one topic to one projection. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Applier {
    pub projection: &'static dyn AnyProjection,
    /// One of those that the projection listens to.
    pub topic: &'static Topic,
    pub pool: PgPool,
    pub metrics: Metrics,
    /// Shared by its clones.
    pub stride: Stride,
    /// Shared by its clones.
    pub failing: Failing,
}

impl Applier {
    pub fn new(projection: &'static dyn AnyProjection, topic: &'static Topic, pool: PgPool, metrics: Metrics) -> Self {
        Self { projection, topic, pool, metrics, stride: Stride::default(), failing: Failing::default() }
    }

    /// For what the projection hears on another of its topics.
    #[must_use]
    pub fn of(&self, topic: &'static Topic) -> Self {
        Self { topic, ..self.clone() }
    }

    /// Settles all of `events`, in any order and however often they were applied before. When it returns `Ok`, each is
    /// applied, skipped, parked, or waits behind a parked one, durably.
    ///
    /// What does not go through because of one event, or because it is too much for Postgres, is cut until the event is
    /// found or the rest is through. See docs/adr/0009 and 0014.
    pub async fn apply(&self, events: &[Event], mode: Mode) -> Result<Tally, Error> {
        let applied = self.apply_all(events, mode).await;
        match &applied {
            Ok(_) => self.failing.ended(),
            // Not a failure of applying: what is refused has a state of its own, and a race is run again.
            Err(Error::NotWritable(_) | Error::Raced) => {}
            Err(error) => self.failing.with(error),
        }
        applied
    }

    async fn apply_all(&self, events: &[Event], mode: Mode) -> Result<Tally, Error> {
        let mut tally = Tally::default();
        let mut work = Work::of(events.to_vec());
        let mut unwell = None;
        loop {
            let Some(mut batch) = work.next(self.stride.now()) else {
                match unwell.take() {
                    Some(error) => return Err(error),
                    None if work.try_again() => continue,
                    None => return Ok(tally),
                }
            };
            match self.with_race_retries(&mut batch, work.condemned(), mode).await {
                Ok(Done { tally: done, early, .. }) => {
                    // What is applied already says nothing.
                    if done.applied > 0 {
                        self.stride.lengthen(batch.len());
                    }
                    self.count(done, mode);
                    tally += done;
                    work.went_through(early);
                }
                Err(Error::Condemned(event, (reason, error))) => work.condemn(batch, event, reason, error),
                Err(error) if error.is_poison() => {
                    kill_point!("park.refused");
                    work.is_poison(batch, error.reason(), error.to_string());
                }
                Err(error) if error.is_too_much() => {
                    self.shorten(&batch, &error);
                    let alone = batch.len() == 1;
                    let too_slow = alone && error.is_too_slow();
                    if !work.is_too_much(batch, too_slow, &error.to_string()) {
                        return Err(error);
                    }
                    if alone && !too_slow {
                        unwell = Some(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// As [`apply`](Self::apply), unless the projection is paused: then the events are left where they are, in the store, from
    /// where its sweep takes them afterwards.
    pub(crate) async fn apply_or_leave(&self, events: &[Event], mode: Mode) -> Result<Tally, Error> {
        match self.apply(events, mode).await {
            Err(error) if error.is_paused() => Ok(Tally::default()),
            applied => applied,
        }
    }

    fn shorten(&self, batch: &[Event], error: &Error) {
        self.stride.shorten(batch.len());
        tracing::warn!(
            projection = self.projection.name(),
            %error,
            events = batch.len(),
            next = self.stride.now(),
            "too much for one transaction; fewer events at a time"
        );
    }

    async fn with_race_retries(
        &self,
        batch: &mut Vec<Event>,
        condemned: &Condemned,
        mode: Mode,
    ) -> Result<Done, Error> {
        let mut attempt = 0;
        loop {
            let timer = self.metrics.apply_timer(self.topic, self.projection.name(), mode);
            match database::with_deadline("applying", self.attempt(batch, condemned, mode)).await {
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

    async fn attempt(&self, batch: &mut Vec<Event>, condemned: &Condemned, mode: Mode) -> Result<Done, Error> {
        let mut connection = database::Lent::by(&self.pool).await?;
        let result = self.transaction(&mut connection, batch, condemned, mode).await;
        // A write that panicked did so in the middle of what, nobody knows.
        if !matches!(result, Err(Error::WritePanicked(_))) {
            connection.give_back();
        }
        result
    }

    /// One try of one batch. What the store has before early events is put into `batch`.
    async fn transaction(
        &self,
        connection: &mut PgConnection,
        batch: &mut Vec<Event>,
        condemned: &Condemned,
        mode: Mode,
    ) -> Result<Done, Error> {
        let mut spans = Spans::begin(mode);
        let mut tx = connection.begin().await?;
        let mut ledger = self.enter(&mut tx, batch.iter().map(|event| event.aggregate_id).collect()).await?;
        let holes = heal::heal(&mut tx, batch, &ledger, self.stride.now()).await?;
        kill_point!("apply.healed");
        let done = self.settle(&mut tx, &mut ledger, batch, &holes, condemned, &mut spans).await?;
        if ledger.is_changed() {
            let (fence, parked) = (ledger.fence, ledger.parked());
            ledger.record(&mut tx).await?;
            kill_point!("apply.recorded");
            tx.commit().await?;
            kill_point!("apply.committed");
            parked.iter().for_each(Parked::say);
            spans.tell(self, fence);
            if mode == Mode::Live {
                self.metrics.observe_freshness(self.topic, self.projection.name(), &done.fresh);
            }
        }
        Ok(done)
    }

    /// How every transaction begins: nobody promotes, and nobody else applies these aggregates, until it ends.
    async fn enter(&self, db: &mut PgConnection, ids: BTreeSet<AggregateId>) -> Result<Ledger, Error> {
        if let Some(at) = watch::stuck(self.projection.name()) {
            return Err(Error::Stuck(at));
        }
        let fence = Fence::enter(&mut *db, self.projection).await?;
        kill_point!("apply.fenced");
        let ledger = Ledger::lock(db, (self.projection, self.topic), fence, ids).await?;
        kill_point!("apply.locked");
        Ok(ledger)
    }

    /// Judges each event and does what follows: fold, park, or nothing. Then writes the rows.
    async fn settle(
        &self,
        db: &mut PgConnection,
        ledger: &mut Ledger,
        events: &[Event],
        holes: &BTreeSet<AggregateId>,
        condemned: &Condemned,
        spans: &mut Spans,
    ) -> Result<Done, Error> {
        let mut done = Done::default();
        let mut pending = self.projection.begin();
        for event in events {
            // A builder has tens of thousands, and others share the thread.
            tokio::task::consume_budget().await;
            match ledger.judge(event) {
                Verdict::Duplicate => done.tally.duplicate += 1,
                Verdict::Held => done.tally.held += 1,
                Verdict::Early if holes.contains(&event.aggregate_id) => {
                    let error = "versions before it are missing from the store";
                    self.hold(db, ledger, event, Reason::MissingVersions, error).await?;
                    spans.note(event, Became::Parked(Reason::MissingVersions));
                    done.tally.parked += 1;
                }
                Verdict::Early => done.early.push(event.clone()),
                Verdict::Fresh if condemned.contains_key(&event.event_id) => {
                    let (reason, error) = &condemned[&event.event_id];
                    self.hold(db, ledger, event, *reason, error).await?;
                    spans.note(event, Became::Parked(*reason));
                    done.tally.parked += 1;
                }
                Verdict::Fresh if ledger.passes_over(event) => {
                    ledger.pass_over(event.aggregate_id, event.version);
                    done.tally.skipped += 1;
                }
                Verdict::Fresh => match self.fold(&mut *pending, event) {
                    Ok(folded) => {
                        ledger.applied(event);
                        done.fresh.push(event.recorded_at);
                        match folded {
                            Folded::Applied => {
                                done.tally.applied += 1;
                                spans.note(event, Became::Applied);
                            }
                            Folded::Skipped => {
                                done.tally.skipped += 1;
                                spans.note(event, Became::Skipped);
                            }
                        }
                    }
                    Err(Refusal { reason: Reason::Panicked, error }) => {
                        return Err(Error::Condemned(event.event_id, (Reason::Panicked, error)));
                    }
                    Err(Refusal { reason, error }) => {
                        self.hold(db, ledger, event, reason, &error).await?;
                        spans.note(event, Became::Parked(reason));
                        done.tally.parked += 1;
                    }
                },
            }
        }
        if done.tally.applied > 0 {
            let first = events.first().map_or(Position::START, |event| event.position);
            let at = At { projection: self.projection.name(), what: "write", position: first };
            let writing = watch::whenever(at, AssertUnwindSafe(pending.write(db)).catch_unwind());
            let written = said_if_long(at, events.len(), writing).await;
            written.map_err(|panic| Error::WritePanicked(panicked(&*panic)))??;
            kill_point!("apply.written");
        }
        Ok(done)
    }

    /// An event whose data cannot be had is of no account to a projection that does not know its type.
    fn fold(&self, pending: &mut dyn Pending, event: &Event) -> Result<Folded, Refusal> {
        match event.unreadable() {
            None => fold(self.projection, pending, event),
            Some(error) => match decodes(self.projection, &event.data) {
                Ok(false) => Ok(Folded::Skipped),
                _ => Err(Refusal { reason: Reason::Unreadable, error: error.to_owned() }),
            },
        }
    }

    async fn hold(
        &self,
        db: &mut PgConnection,
        ledger: &mut Ledger,
        event: &Event,
        reason: Reason,
        error: &str,
    ) -> Result<(), Error> {
        let parked = park::event(db, self.projection, self.topic, ledger.fence, event, reason, error).await?;
        kill_point!("park.inserted");
        ledger.park(event.aggregate_id, parked);
        Ok(())
    }

    /// The first of these events, as many as are good for one batch; the others are left to be asked for again.
    pub(crate) async fn read(&self, ids: &[EventId]) -> Result<(Vec<Event>, Vec<EventId>), Error> {
        let (now, later) = ids.split_at(ids.len().min(self.stride.now()));
        let reading = async { read::careful::by_id(&mut *self.pool.acquire().await?, now).await };
        match database::with_deadline("reading", reading).await {
            Ok(found) => {
                let rest = found.rest.iter().chain(later).copied().collect();
                Ok((Event::all(found.events, found.unreadable).collect(), rest))
            }
            Err(error) => {
                if database::is_too_much(&error) {
                    self.stride.shorten(now.len());
                }
                Err(error.into())
            }
        }
    }

    fn count(&self, tally: Tally, mode: Mode) {
        self.metrics.count(self.topic, self.projection.name(), mode, tally);
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
