//! The relay: carries recorded events to their topic, in position order.
//!
//! One relay a topic, so that a topic that cannot be published holds up no other. It works under a lease; two at once
//! do no harm, because consumers deduplicate, and because the cursor only moves for the lease's holder and only past
//! what the bus has confirmed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Message, Publisher};
use events::{Payload, Position, Recorded, Topic, wire};
use kill_points::kill_point;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::read::{self, Filter};
use crate::tail::{Head, POLL};
use crate::{Metrics, database};

/// The most positions read, and so the most messages in flight, at a time.
const PAGE: i64 = 1000;

/// Seconds after which another relay takes over from one that has not renewed its lease.
const LEASE_SECONDS: f64 = 10.0;

/// An idle holder renews after this.
const RENEW: Duration = Duration::from_secs(3);

pub struct Relay {
    pub topic: &'static Topic,
    pub publisher: Arc<dyn Publisher>,
    pub pool: PgPool,
    pub head: Head,
    pub metrics: Metrics,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("reading: {0}")]
    Read(#[from] read::Error),
    #[error("moving the cursor: {}", database::describe(.0))]
    Cursor(#[from] sqlx::Error),
    #[error("publishing: {0}")]
    Publish(#[from] bus::PublishError),
}

impl Relay {
    /// Relays until stopped. Errors are waited out: what is not confirmed is published again.
    pub async fn run(self, stop: CancellationToken) {
        let holder = Uuid::now_v7();
        let mut lease = None;
        let mut failing = false;
        while !stop.is_cancelled() {
            match stop.run_until_cancelled(database::heard("relaying", self.step(holder, &mut lease))).await {
                None => break,
                Some(Ok(Step::Moved)) => failing = false,
                Some(Ok(Step::CaughtUp(position))) => {
                    failing = false;
                    stop.run_until_cancelled(self.head.past(position)).await;
                }
                Some(Ok(Step::NotOurs)) => {
                    lease = None;
                    stop.run_until_cancelled(tokio::time::sleep(POLL)).await;
                }
                Some(Err(error)) => {
                    lease = None;
                    if !failing {
                        tracing::warn!(topic = self.topic.name, %error, "relay: trying again every second");
                        failing = true;
                    }
                    stop.run_until_cancelled(tokio::time::sleep(POLL)).await;
                }
            }
        }
        self.metrics.relay_leader.with_label_values(&[self.topic.name]).set(0);
        if let Err(error) = self.release(holder).await {
            tracing::debug!(topic = self.topic.name, %error, "the relay's lease was not released; it will expire");
        }
    }

    async fn step(&self, holder: Uuid, lease: &mut Option<Lease>) -> Result<Step, Error> {
        if lease.as_ref().is_none_or(|lease| lease.renewed.elapsed() >= RENEW) {
            let reached = lease.as_ref().map_or(Position::START, |lease| lease.cursor);
            *lease = self.lease(holder, reached).await?;
            kill_point!("relay.leased");
        }
        self.metrics.relay_leader.with_label_values(&[self.topic.name]).set(i64::from(lease.is_some()));
        let Some(lease) = lease else { return Ok(Step::NotOurs) };

        let head = read::head(&self.pool).await.map_err(read::Error::from)?;
        let page = read::page(&self.pool, lease.cursor, head, PAGE, &self.filter()).await?;
        if page.upto == lease.cursor {
            return Ok(Step::CaughtUp(lease.cursor));
        }
        if page.events.is_empty() {
            // Other topics' events. Not worth a commit of their own; the next renewal writes it down.
            lease.cursor = page.upto;
            return Ok(Step::Moved);
        }
        kill_point!("relay.read");
        let (messages, positions) = self.messages(&page.events);
        let count = messages.len() as u64;
        let published = if messages.is_empty() { Ok(()) } else { self.publisher.publish(messages).await };
        let counter = |result| self.metrics.relay_published_events.with_label_values(&[self.topic.name, result]);
        kill_point!("relay.published");
        match published {
            Ok(()) => {
                counter("confirmed").inc_by(count);
                self.advance(holder, lease, page.upto).await
            }
            Err(error) => {
                counter("confirmed").inc_by(error.confirmed as u64);
                counter("failed").inc_by(count - error.confirmed as u64);
                if let Some(last) = error.confirmed.checked_sub(1) {
                    self.advance(holder, lease, positions[last]).await?;
                }
                Err(error.into())
            }
        }
    }

    /// The messages for the events, and where each stands. An event too large for the bus has none: the sweep of its
    /// topic's workers takes it from the store.
    fn messages(&self, events: &[Recorded<Payload>]) -> (Vec<Message>, Vec<Position>) {
        let mut messages = Vec::with_capacity(events.len());
        let mut positions = Vec::with_capacity(events.len());
        for event in events {
            let (data, attributes) = wire::encode(event);
            if data.len() > Message::MAX_BYTES {
                let position = event.position.0;
                tracing::warn!(topic = self.topic.name, position, bytes = data.len(), "too large for the bus");
                self.metrics.relay_published_events.with_label_values(&[self.topic.name, "oversize"]).inc();
                continue;
            }
            let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            messages.push(Message { data: data.into(), attributes });
            positions.push(event.position);
        }
        (messages, positions)
    }

    fn filter(&self) -> Filter {
        Filter::aggregate_types(self.topic.aggregate_types)
    }

    /// Takes or renews the lease; the cursor, if it is ours. What was gone through since the last commit without finding
    /// anything to publish is written down with it.
    async fn lease(&self, holder: Uuid, reached: Position) -> sqlx::Result<Option<Lease>> {
        let renewed = Instant::now();
        let cursor = sqlx::query_scalar!(
            "insert into relay_cursors as cursor (topic, lease_holder, leased_until, position)
             values ($1, $2, clock_timestamp() + make_interval(secs => $3), $4)
             on conflict (topic) do update
             set lease_holder = excluded.lease_holder, leased_until = excluded.leased_until,
                 position = greatest(cursor.position, excluded.position)
             where cursor.lease_holder = excluded.lease_holder
             or cursor.lease_holder is null
             or cursor.leased_until < clock_timestamp()
             returning position",
            self.topic.name,
            holder,
            LEASE_SECONDS,
            reached.0
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(cursor.map(|cursor| Lease { cursor: Position(cursor), renewed }))
    }

    /// Moves the cursor, if the lease is still ours, and renews the lease with it.
    async fn advance(&self, holder: Uuid, lease: &mut Lease, to: Position) -> Result<Step, Error> {
        let renewed = Instant::now();
        let moved = sqlx::query!(
            "update relay_cursors
             set position = $3, moved_at = clock_timestamp(),
                 leased_until = clock_timestamp() + make_interval(secs => $4)
             where topic = $1 and lease_holder = $2 and position < $3",
            self.topic.name,
            holder,
            to.0,
            LEASE_SECONDS
        )
        .execute(&self.pool)
        .await?;
        if moved.rows_affected() == 0 {
            return Ok(Step::NotOurs);
        }
        kill_point!("relay.advanced");
        *lease = Lease { cursor: to, renewed };
        self.metrics.relay_position.with_label_values(&[self.topic.name]).set(to.0);
        Ok(Step::Moved)
    }

    /// Lets the next relay start at once instead of after the lease.
    async fn release(&self, holder: Uuid) -> sqlx::Result<()> {
        sqlx::query!(
            "update relay_cursors set lease_holder = null, leased_until = null where topic = $1 and lease_holder = $2",
            self.topic.name,
            holder
        )
        .execute(&self.pool)
        .await
        .map(drop)
    }
}

/// The right to relay a topic for a while, and how far it is relayed.
struct Lease {
    cursor: Position,
    renewed: Instant,
}

enum Step {
    Moved,
    /// There was nothing after this position.
    CaughtUp(Position),
    /// Another relay has the lease.
    NotOurs,
}
