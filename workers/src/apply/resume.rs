//! Going on behind a dead letter: the one way in which the hold of an aggregate ends.
//!
//! What waits behind a dead letter waits in the store, so that redriving means reading on from there. All that a step
//! does, it does in one transaction: it may be killed, and another worker may do the same at the same time.

use std::collections::{BTreeMap, BTreeSet};

use database::Lent;
use event_store::read;
use events::{AggregateId, Topic, Version};
use kill_points::kill_point;
use sqlx::{Connection, PgConnection};

use super::ledger::Ledger;
use super::spans::Spans;
use super::{Applier, Error, Mode, Tally};
use crate::dead_letters::decided;
use crate::dead_letters::park::{Parked, Reason};
use crate::fence::Fence;
use crate::operations;
use crate::verdict::{self, Event};

/// What became of a held aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumed {
    /// It has no dead letter about which anybody has decided.
    Nothing,
    /// Events were applied; more wait.
    More(Tally),
    /// Nothing waits any more.
    Released(Tally),
    /// An event, the same or a later one, is parked.
    Parked(Tally),
}

/// Why the first event that waits is to be parked.
pub(crate) type Refused = (Reason, String);

impl Applier {
    /// One step: applies up to `limit` events that wait in the aggregate, its dead letter first, or without it if that
    /// was the decision. `refused` parks the first of them instead. `beside`: in that generation, which is not live.
    pub(crate) async fn resume(
        &self,
        aggregate_id: AggregateId,
        beside: Option<i32>,
        limit: usize,
        refused: Option<&Refused>,
    ) -> Result<Resumed, Error> {
        let mut db = Lent::by(&self.pool).await?;
        let resumed = self.resume_on(&mut db, aggregate_id, beside, limit, refused).await;
        // A write that panicked did so in the middle of what, nobody knows.
        if !matches!(resumed, Err(Error::WritePanicked(_))) {
            db.give_back();
        }
        resumed
    }

    async fn resume_on(
        &self,
        db: &mut PgConnection,
        aggregate_id: AggregateId,
        beside: Option<i32>,
        limit: usize,
        refused: Option<&Refused>,
    ) -> Result<Resumed, Error> {
        let mut spans = Spans::begin(Mode::Redrive);
        let mut tx = db.begin().await?;
        let ids = BTreeSet::from([aggregate_id]);
        let mut ledger = match beside {
            None => self.enter(&mut tx, ids.clone()).await?,
            Some(generation) => {
                let fence = Fence::apart(&mut tx, self.projection, generation).await?;
                let Some(fence) = fence else { return Ok(Resumed::Nothing) };
                Ledger::lock(&mut tx, (self.projection, self.topic), fence, ids.clone()).await?.without_ids()
            }
        };
        let fence = ledger.fence;
        let Some(front) = decided::front(&mut tx, self.projection.name(), fence.generation, aggregate_id).await? else {
            return Ok(Resumed::Nothing);
        };
        self.halt_sweeps(&mut tx, fence).await?;
        kill_point!("redrive.outdated");
        spans.because_of(front.trace);

        if front.discard && ledger.applied_of(aggregate_id).version < front.version {
            ledger.pass_over(aggregate_id, front.version);
        }
        let next = ledger.applied_of(aggregate_id).version.next();
        let upto = Version(i32::MAX);
        let waiting = read::careful::aggregate(&mut tx, aggregate_id, next, upto, limit as i64).await?;
        let more = !waiting.is_complete();
        let mut waiting: Vec<Event> = Event::all(waiting.events, waiting.unreadable).collect();
        verdict::in_order(&mut waiting);
        kill_point!("redrive.read");
        // Whoever builds beside goes on without what a person went on without.
        if beside.is_some() {
            ledger.pass_over_events(self.discarded(&mut tx, &waiting).await?);
        }
        let carries = |topic: &&&Topic| waiting.first().is_some_and(|it| topic.carries(&it.data.aggregate_type));
        let topic = self.projection.topics().iter().find(carries).filter(|_| beside.is_some());
        ledger.release(aggregate_id);
        let condemned = match (refused, waiting.first()) {
            (Some((reason, error)), Some(first)) => BTreeMap::from([(first.event_id, (*reason, error.clone()))]),
            _ => BTreeMap::new(),
        };
        let applier = topic.map_or_else(|| self.clone(), |topic| self.of(topic));
        let done = applier.settle(&mut tx, &mut ledger, &waiting, &ids, &condemned, &mut spans).await?;

        kill_point!("redrive.settled");

        let redriven = if done.tally.parked > 0 {
            Resumed::Parked(done.tally)
        } else if more {
            ledger.hold(aggregate_id);
            Resumed::More(done.tally)
        } else {
            self.outdate_sweeps(&mut tx, fence).await?;
            Resumed::Released(done.tally)
        };
        let over = !matches!(redriven, Resumed::More(_));
        if over && front.version <= ledger.applied_of(aggregate_id).version {
            decided::take_front(&mut tx, &front).await?;
        }
        operations::advance(&mut tx, front.operation, over.into(), done.tally).await?;
        let parked = ledger.parked();
        ledger.record(&mut tx).await?;
        kill_point!("redrive.recorded");
        tx.commit().await?;
        kill_point!("redrive.committed");
        parked.iter().for_each(Parked::say);
        spans.tell(self, fence);
        self.count(done.tally, Mode::Redrive);
        Ok(redriven)
    }

    /// Locks the progress of all topics, so that no sweep settles until this transaction ends. What is settled by then is read
    /// after this, and what is appended after that read is not settled before the hold has ended. Of all topics, because the
    /// aggregate may be on another one by now than the one on which it was parked.
    ///
    /// Locks are taken in one order: the fence, the aggregate, its letter, progress, rows of the read model, the operation.
    /// A sweep holds progress only, and waits for nothing else; an apply never takes it. So nobody waits in a circle.
    async fn halt_sweeps(&self, db: &mut PgConnection, fence: Fence) -> sqlx::Result<()> {
        sqlx::query!(
            "select from projection_progress where projection = $1 and generation = $2 order by topic for no key update",
            self.projection.name(),
            fence.generation
        )
        .execute(db)
        .await
        .map(drop)
    }

    /// A sweep that has looked already counts what is held as settled, and must look again. What stays held may be counted
    /// so: it needs nothing of this.
    async fn outdate_sweeps(&self, db: &mut PgConnection, fence: Fence) -> sqlx::Result<()> {
        sqlx::query!(
            "update projection_progress set releases = releases + 1 where projection = $1 and generation = $2",
            self.projection.name(),
            fence.generation
        )
        .execute(db)
        .await
        .map(drop)
    }
}
