//! A topic's row of `relay_cursors`: who may relay, and how far everything is published.
//!
//! The lease keeps relays from doing the same work twice. The cursor does not rest on it: it moves for whoever can show
//! that everything up to the new position is confirmed, in the history that the database has now.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use events::{EventId, Position};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// How long a lease lasts that nobody renews.
pub(super) const LEASE: Duration = Duration::from_secs(10);

/// After this a holder renews, idle or waiting for the bus.
pub(super) const RENEW: Duration = Duration::from_secs(3);

/// How long refused messages are remembered, in days.
const REMEMBERED: i32 = 90;

pub(super) struct Cursor {
    pool: PgPool,
    topic: &'static str,
    holder: Uuid,
    /// The lease of another relay, and since when it has not changed.
    watched: Option<(Uuid, DateTime<Utc>, Instant)>,
}

/// The right to relay a topic for a while, and how far it is relayed.
pub(super) struct Lease {
    pub(super) renewed: Instant,
    /// Where the database has the cursor, or had it when it was last seen.
    pub(super) written: Position,
    /// Everything up to here is confirmed or not of this topic. Ahead of what is written where only other topics' events
    /// were: those are not worth a commit of their own.
    pub(super) reached: Position,
    seen: Seen,
    place: String,
}

/// The head as it was read. Its event names the whole history before it: in another one, after a failover that lost the
/// tail, there is another event in its place, or none.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    position: Position,
    event: Option<EventId>,
}

/// A message that is passed, and why.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) position: Position,
    pub(super) reason: String,
}

impl Cursor {
    pub(super) fn new(pool: PgPool, topic: &'static str) -> Self {
        Self { pool, topic, holder: Uuid::now_v7(), watched: None }
    }

    /// Takes the lease if nobody has it; the cursor, if it is ours.
    pub(super) async fn take(&mut self) -> sqlx::Result<Option<Lease>> {
        let renewed = Instant::now();
        let abandoned = self.watched.filter(|(_, _, since)| since.elapsed() >= LEASE);
        let taken = sqlx::query_file!(
            "src/relay/take.sql",
            self.topic,
            self.holder,
            LEASE.as_secs_f64(),
            abandoned.map(|(holder, _, _)| holder),
            abandoned.map(|(_, until, _)| until)
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = taken else {
            self.watch().await?;
            return Ok(None);
        };
        self.watched = None;
        let written = Position(row.position);
        Ok(Some(Lease { renewed, written, reached: written, seen: Seen::default(), place: row.place }))
    }

    /// Looks whether the other relay has renewed its lease since it was last looked at.
    async fn watch(&mut self) -> sqlx::Result<()> {
        let other = sqlx::query!(
            r#"select lease_holder as "holder!", leased_until as "until!" from relay_cursors
               where topic = $1 and lease_holder is not null and leased_until is not null"#,
            self.topic
        )
        .fetch_optional(&self.pool)
        .await?;
        self.watched = other.map(|other| match self.watched {
            Some((holder, until, since)) if (holder, until) == (other.holder, other.until) => (holder, until, since),
            _ => (other.holder, other.until, Instant::now()),
        });
        Ok(())
    }

    /// Makes the lease last anew, if it is still ours.
    pub(super) async fn renew(&self) -> sqlx::Result<()> {
        sqlx::query!(
            "update relay_cursors set leased_until = clock_timestamp() + make_interval(secs => $3)
             where topic = $1 and lease_holder = $2",
            self.topic,
            self.holder,
            LEASE.as_secs_f64()
        )
        .execute(&self.pool)
        .await
        .map(drop)
    }

    /// The head. `None`: the history before it is no longer the one that this lease has gone through.
    pub(super) async fn head(&self, db: &mut PgConnection, lease: &mut Lease) -> sqlx::Result<Option<Position>> {
        let known = lease.seen;
        let head =
            sqlx::query_file!("src/relay/head.sql", known.position.0, known.event.map(|id| id.0)).fetch_one(db).await?;
        lease.seen = Seen { position: Position(head.position), event: head.event_id.map(EventId) };
        Ok(head.same.then_some(lease.seen.position))
    }

    /// Writes down what the lease has reached, and renews it. False: it is no longer ours, or what was read and published
    /// is of a history that the database no longer has.
    pub(super) async fn advance(&self, lease: &mut Lease) -> sqlx::Result<bool> {
        let renewed = Instant::now();
        let mut moved = None;
        // Not where it was: another relay has touched the row. By its key it is found in any case.
        for place in [Some(lease.place.as_str()), None] {
            moved = sqlx::query_file!(
                "src/relay/advance.sql",
                self.topic,
                self.holder,
                lease.reached.0,
                lease.written.0,
                lease.seen.position.0,
                lease.seen.event.map(|id| id.0),
                LEASE.as_secs_f64(),
                place
            )
            .fetch_optional(&self.pool)
            .await?;
            if moved.is_some() {
                break;
            }
        }
        let Some(row) = moved else { return Ok(false) };
        (lease.written, lease.renewed, lease.place) = (lease.reached, renewed, row.place);
        Ok(row.ours)
    }

    /// Moves the cursor back to the head if it is beyond it.
    pub(super) async fn rewind(&self) -> sqlx::Result<()> {
        sqlx::query!(
            "update relay_cursors as cursor set position = head.position, moved_at = clock_timestamp()
             from event_store_head as head
             where cursor.topic = $1 and cursor.lease_holder = $2 and cursor.position > head.position",
            self.topic,
            self.holder
        )
        .execute(&self.pool)
        .await
        .map(drop)
    }

    /// Records what is passed, before it is passed; and forgets as many of the oldest, if they are old enough.
    pub(super) async fn refuse(&self, refusals: &[Refusal]) -> sqlx::Result<()> {
        let positions: Vec<_> = refusals.iter().map(|refusal| refusal.position.0).collect();
        let reasons: Vec<_> = refusals.iter().map(|refusal| refusal.reason.clone()).collect();
        sqlx::query!(
            "with oldest as (
                 select position from refused_messages where topic = $1 order by position limit 1000
             ),
             forgotten as (
                 delete from refused_messages as refused using oldest
                 where refused.topic = $1 and refused.position = oldest.position
                 and refused.refused_at < clock_timestamp() - make_interval(days => $4)
             )
             insert into refused_messages (topic, position, reason)
             select $1, position, reason from unnest($2::bigint[], $3::text[]) as refused (position, reason)
             on conflict do nothing",
            self.topic,
            &positions,
            &reasons,
            REMEMBERED
        )
        .execute(&self.pool)
        .await
        .map(drop)
    }

    /// Lets the next relay start at once instead of after the lease.
    pub(super) async fn release(&self) -> sqlx::Result<()> {
        sqlx::query!(
            "update relay_cursors set lease_holder = null, leased_until = null where topic = $1 and lease_holder = $2",
            self.topic,
            self.holder
        )
        .execute(&self.pool)
        .await
        .map(drop)
    }
}
