//! Applying to a generation that is not live: judged, folded and written as everything else, and from the store alone. It
//! needs no ids: it takes the store in order, and the position of its part is moved in the transaction that writes the rows.

use std::collections::BTreeSet;
use std::time::Instant;

use database::Lent;
use events::{AggregateId, EventId, Position};
use kill_points::kill_point;
use sqlx::{Connection, PgConnection};

use super::ledger::Ledger;
use super::spans::Spans;
use super::work::Condemned;
use super::{Applier, Error, Mode, Tally};
use crate::dead_letters::park::Parked;
use crate::fence::Fence;
use crate::generations::Part;
use crate::verdict::Event;

/// Consecutive events of a part.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    /// The part was there when they were read.
    pub after: Position,
    /// Everything of the part up to here is in it.
    pub upto: Position,
    pub events: Vec<Event>,
}

impl Chunk {
    /// The first `most` events, and what is left.
    pub fn split(mut self, most: usize) -> (Self, Option<Self>) {
        if self.events.len() <= most {
            return (self, None);
        }
        let rest = self.events.split_off(most.max(1));
        let between = Position(rest[0].position.0 - 1);
        let rest = Self { after: between, upto: self.upto, events: rest };
        (Self { upto: between, ..self }, Some(rest))
    }
}

/// What is known of a chunk besides its events.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// The head of the store when it was read.
    pub head: Position,
    /// Since when it has been at this step, with what it rested before.
    pub since: Instant,
    /// The steps before say nothing of those to come.
    pub changed: bool,
}

impl Applier {
    /// Applies a chunk to a part of a generation. `None`: another does, or nobody is to build it any more.
    pub(crate) async fn build(
        &self,
        part: &Part,
        chunk: &Chunk,
        pace: Pace,
        condemned: &Condemned,
    ) -> Result<Option<Tally>, Error> {
        let mut db = Lent::by(&self.pool).await?;
        let result = self.build_in_transaction(&mut db, part, chunk, pace, condemned).await;
        // A write that panicked did so in the middle of what, nobody knows.
        if !matches!(result, Err(Error::WritePanicked(_))) {
            db.give_back();
        }
        result
    }

    async fn build_in_transaction(
        &self,
        db: &mut PgConnection,
        part: &Part,
        chunk: &Chunk,
        pace: Pace,
        condemned: &Condemned,
    ) -> Result<Option<Tally>, Error> {
        let mut tx = db.begin().await?;
        let last = chunk.events.last().map(|event| (event.position, event.event_id));
        let entered = Fence::beside(&mut tx, self.projection, part, last).await?;
        let Some((fence, position)) = entered else { return Ok(None) };
        if position != chunk.after {
            return Ok(None);
        }
        kill_point!("rebuild.entered");
        let (tally, parked) = self.build_on(&mut tx, fence, &chunk.events, condemned).await?;
        sqlx::query_file!(
            "src/generations/advance.sql",
            self.projection.name(),
            part.generation,
            part.part,
            chunk.upto.0,
            chunk.events.len() as i64,
            pace.since.elapsed().as_secs_f32(),
            pace.head.0,
            pace.changed
        )
        .execute(&mut *tx)
        .await?;
        kill_point!("rebuild.advanced");
        tx.commit().await?;
        kill_point!("rebuild.committed");
        parked.iter().for_each(Parked::say);
        Ok(Some(tally))
    }

    /// In the transaction in which the position moves past them. What is parked is to be said when that is committed.
    pub(crate) async fn build_on(
        &self,
        db: &mut PgConnection,
        fence: Fence,
        events: &[Event],
        condemned: &Condemned,
    ) -> Result<(Tally, Vec<Parked>), Error> {
        if events.is_empty() {
            return Ok((Tally::default(), Vec::new()));
        }
        let ids: BTreeSet<AggregateId> = events.iter().map(|event| event.aggregate_id).collect();
        let discarded = self.discarded(db, events).await?;
        let ledger = Ledger::lock(db, (self.projection, self.topic), fence, ids.clone()).await?;
        let mut ledger = ledger.without_ids().passing_over(discarded);
        let mut spans = Spans::none(Mode::Rebuild);
        let mut tally = Tally::default();
        for &topic in self.projection.topics() {
            let of_topic = events.iter().filter(|event| topic.carries(&event.data.aggregate_type));
            let of_topic: Vec<_> = of_topic.cloned().collect();
            if !of_topic.is_empty() {
                // What is missing before an event here, the store lacks: everything before it was here.
                let applier = self.of(topic);
                let done = applier.settle(db, &mut ledger, &of_topic, &ids, condemned, &mut spans).await?.tally;
                applier.count(done, Mode::Rebuild);
                tally += done;
            }
        }
        kill_point!("rebuild.written");
        let parked = ledger.parked();
        if ledger.is_changed() {
            ledger.record(db).await?;
        }
        kill_point!("rebuild.recorded");
        Ok((tally, parked))
    }

    /// The events that a person decided to go on without: a generation that is built anew goes on without them as well.
    pub(super) async fn discarded(&self, db: &mut PgConnection, events: &[Event]) -> sqlx::Result<BTreeSet<EventId>> {
        let any = sqlx::query_scalar!(
            r#"select exists (select from discarded_events where projection = $1) as "any!""#,
            self.projection.name()
        );
        if !any.fetch_one(&mut *db).await? {
            return Ok(BTreeSet::new());
        }
        let ids: Vec<_> = events.iter().map(|event| event.event_id.0).collect();
        let discarded = sqlx::query_scalar!(
            r#"select wanted.event_id as "event_id!"
               from unnest($2::uuid[]) as wanted (event_id)
               where exists (
                   select from discarded_events where projection = $1 and event_id = wanted.event_id offset 0
               )"#,
            self.projection.name(),
            &ids
        );
        Ok(discarded.fetch_all(db).await?.into_iter().map(EventId).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::tests::event;

    #[test]
    fn what_is_left_of_a_chunk_goes_on_where_the_first_part_ends() {
        let at = |position: i64| {
            let mut recorded = (*event(1, 1)).clone();
            recorded.position = Position(position);
            Event::new(recorded)
        };
        let chunk = Chunk { after: Position(10), upto: Position(30), events: vec![at(12), at(15), at(29)] };
        let (first, rest) = chunk.split(2);
        assert_eq!((first.after, first.upto, first.events.len()), (Position(10), Position(28), 2));
        let rest = rest.expect("one event is left");
        assert_eq!((rest.after, rest.upto, rest.events.len()), (Position(28), Position(30), 1));
        let (whole, nothing) = rest.split(1);
        assert!(whole.upto == Position(30) && nothing.is_none());
    }
}
