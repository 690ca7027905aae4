//! The relay: carries recorded events to their topic, in position order.
//!
//! One relay a topic, so that a topic that cannot be published holds up no other. It works under a lease; two at once
//! do no harm, because consumers deduplicate, and because the cursor only moves past what the bus has confirmed, or has
//! refused for good, which is recorded.

pub mod behind;
mod cursor;
pub mod leases;
mod load;
mod publish;
pub mod refused;
mod settled;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::Publisher;
use events::{Position, Topic};
use kill_points::kill_point;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::read::{self, Filter, Page};
use crate::tail::{Head, POLL};
use crate::{Metrics, unreadable};
use cursor::{Cursor, Lease, RENEW};
use load::Load;
use publish::{Outcome, Published, Publishing};
use settled::{Settled, last_reason, refused_in_a_row};

/// How long nothing more is said of a relay that fails.
const REMIND: Duration = Duration::from_secs(60);

/// The most positions read at a time.
const PAGE: i64 = 1000;

/// So many messages one after the other, none of them taken: then it is not they that are wrong, but the topic. A schema
/// was attached to it, or its name is malformed.
const TOO_MANY: usize = 10;

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
    Publish(#[from] bus::Error),
    #[error(
        "the bus refuses one message after the other, the last because of: {0}; \
         if it is not they that are wrong, look at the topic's schema and name"
    )]
    RefusesAll(String),
}

/// What a relay knows from step to step.
struct State {
    cursor: Cursor,
    lease: Option<Lease>,
    /// Messages that the bus has refused since it last took one.
    refused_in_a_row: usize,
    failing_since: Option<Instant>,
    /// When that was said last.
    told: Option<Instant>,
}

enum Step {
    Moved,
    /// There was nothing after this position.
    CaughtUp(Position),
    /// Another relay has the lease, or what this one knew is of a history that is no more.
    NotOurs,
}

impl Relay {
    /// Relays until stopped. Errors are waited out: what is not confirmed is published again.
    pub async fn run(self, stop: CancellationToken) {
        let cursor = Cursor::new(self.pool.clone(), self.topic.name);
        let mut state = State { cursor, lease: None, refused_in_a_row: 0, failing_since: None, told: None };
        self.metrics.begin(self.topic);
        while !stop.is_cancelled() {
            match stop.run_until_cancelled(self.step(&mut state)).await {
                None => break,
                Some(Ok(Step::Moved)) => self.recovered(&mut state),
                Some(Ok(Step::CaughtUp(position))) => {
                    self.recovered(&mut state);
                    stop.run_until_cancelled(self.head.past(position)).await;
                }
                Some(Ok(Step::NotOurs)) => {
                    state.lease = None;
                    stop.run_until_cancelled(tokio::time::sleep(POLL)).await;
                }
                Some(Err(error)) => {
                    state.lease = None;
                    if state.told.is_none_or(|told| told.elapsed() >= REMIND) && !database::is_found_away().await {
                        tracing::warn!(topic = self.topic.name, %error, "relay: trying again every second");
                        state.told = Some(Instant::now());
                        state.failing_since.get_or_insert_with(Instant::now);
                    }
                    stop.run_until_cancelled(tokio::time::sleep(POLL)).await;
                }
            }
        }
        self.leads(false);
        if let Err(error) = database::with_deadline("releasing", state.cursor.release()).await {
            tracing::debug!(topic = self.topic.name, %error, "the relay's lease was not released; it will expire");
        }
    }

    fn recovered(&self, state: &mut State) {
        state.told = None;
        if let Some(since) = state.failing_since.take() {
            tracing::info!(topic = self.topic.name, after = ?since.elapsed(), "relay: publishing again");
        }
    }

    async fn step(&self, state: &mut State) -> Result<Step, Error> {
        let led = database::with_deadline("relaying", self.lead(state)).await;
        // Whoever cannot ask the database for the lease has none for long.
        self.leads(led.is_ok() && state.lease.is_some());
        led?;
        let Some(lease) = &mut state.lease else { return Ok(Step::NotOurs) };
        // Also of a topic on which nothing happens.
        self.metrics.relay_position.with_label_values(&[self.topic.name]).set(lease.reached.0);

        let Some(page) = database::with_deadline("relaying", self.read(&state.cursor, lease)).await? else {
            return Ok(Step::NotOurs);
        };
        if page.upto == lease.reached {
            return Ok(Step::CaughtUp(page.upto));
        }
        if page.events.is_empty() && page.unreadable.is_empty() {
            // Other topics' events. Not worth a commit of their own; the next renewal writes it down.
            lease.reached = page.upto;
            return Ok(Step::Moved);
        }
        kill_point!("relay.read");
        for load in load::loads(page, self.topic) {
            if !self.carry(state, load).await? {
                return Ok(Step::NotOurs);
            }
        }
        Ok(Step::Moved)
    }

    /// Takes the lease, or renews it in time, and with it writes down what was gone through without finding anything.
    async fn lead(&self, state: &mut State) -> Result<(), Error> {
        let ours = match &mut state.lease {
            Some(lease) if lease.renewed.elapsed() < RENEW => true,
            Some(lease) if lease.reached > lease.written => state.cursor.advance(lease).await?,
            _ => {
                state.lease = state.cursor.take().await?;
                kill_point!("relay.leased");
                true
            }
        };
        if !ours {
            state.lease = None;
        }
        Ok(())
    }

    /// The next page. `None`: what was reached is not in the history that the database has.
    async fn read(&self, cursor: &Cursor, lease: &mut Lease) -> Result<Option<Page>, Error> {
        let said = self.head.said();
        // One connection, so that head and page are of one server.
        let mut db = self.pool.acquire().await?;
        let head = cursor.head(&mut db, lease).await?;
        let Some(head) = head.filter(|head| *head >= lease.reached) else {
            self.lost_tail(cursor, lease).await?;
            return Ok(None);
        };
        self.head.found(said, head);
        let filter = Filter::aggregate_types(self.topic.aggregate_types);
        let page = read::careful::page(&mut db, lease.reached, head, PAGE, &filter).await?;
        unreadable::record(&self.pool, &self.metrics, &page.unreadable).await.map_err(read::Error::from)?;
        Ok(Some(page))
    }

    /// What this relay knows is not in the store: a failover lost its end. So it counts for nothing. The cursor went back
    /// with the store; if it did not, it goes back now, since to wait until the head has passed it would leave out what is
    /// appended until then.
    async fn lost_tail(&self, cursor: &Cursor, lease: &Lease) -> Result<(), Error> {
        let (topic, reached) = (self.topic.name, lease.reached.0);
        tracing::error!(
            topic,
            reached,
            "relay: the store no longer holds what was relayed: its end is lost, or the server is no longer the primary; \
             going back to where the store ends"
        );
        self.metrics.relay_rewinds.with_label_values(&[topic]).inc();
        cursor.rewind().await?;
        Ok(())
    }

    /// Publishes a load and moves the cursor past what is confirmed or recorded. False: the lease is gone.
    async fn carry(&self, state: &mut State, load: Load) -> Result<bool, Error> {
        let Load { mut events, messages, refusals, upto } = load;
        let doubtful = state.refused_in_a_row > TOO_MANY && !events.is_empty();
        let publishing = Publishing::by(&*self.publisher);
        let published = async {
            if doubtful {
                let probed = publishing.probe(&events).await;
                if !probed.any_taken() {
                    return Err(refuses_all(probed));
                }
            }
            Ok(publishing.publish(&events, messages).await)
        };
        let published = tokio::select! {
            biased;
            published = published => published,
            never = self.keep(&state.cursor) => match never {},
        };
        kill_point!("relay.published");
        let published = published.inspect_err(|_| self.count("failed", events.len()))?;
        state.refused_in_a_row = refused_in_a_row(state.refused_in_a_row, &published.outcomes);
        if state.refused_in_a_row > TOO_MANY {
            self.count("failed", events.len());
            return Err(refuses_all(published));
        }

        let Published { outcomes, away } = published;
        events.iter_mut().zip(&outcomes).for_each(|(event, outcome)| event.told(outcome));
        let confirmed = events.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Outcome::Confirmed);
        self.metrics.confirmed(self.topic, confirmed.map(|(outgoing, _)| outgoing.event.recorded_at));
        let settled = Settled::of(&events, outcomes, refusals, upto);
        self.count("confirmed", settled.confirmed);
        self.count("failed", settled.unknown);
        let ours = database::with_deadline("relaying", self.settle(state, settled)).await?;
        away.map_or(Ok(ours), |error| Err(error.into()))
    }

    /// Renews the lease for as long as the bus takes.
    async fn keep(&self, cursor: &Cursor) -> Infallible {
        loop {
            tokio::time::sleep(RENEW).await;
            if let Err(error) = database::with_deadline("renewing", cursor.renew()).await {
                let error = database::describe(&error);
                tracing::debug!(topic = self.topic.name, error, "relay: the lease was not renewed");
            }
        }
    }

    async fn settle(&self, state: &mut State, settled: Settled) -> Result<bool, Error> {
        let Some(lease) = &mut state.lease else { return Ok(false) };
        if let Some(first) = settled.refusals.first() {
            tracing::warn!(
                topic = self.topic.name,
                messages = settled.refusals.len(),
                position = first.position.0,
                reason = first.reason,
                "relay: the bus does not take this; recorded in refused_messages, and left to the sweep"
            );
            state.cursor.refuse(&settled.refusals).await?;
            self.count("refused", settled.refusals.len());
            kill_point!("relay.refused");
        }
        if settled.upto <= lease.reached {
            return Ok(true);
        }
        lease.reached = settled.upto;
        let ours = state.cursor.advance(lease).await?;
        if ours {
            kill_point!("relay.advanced");
            self.metrics.relay_position.with_label_values(&[self.topic.name]).set(settled.upto.0);
        }
        Ok(ours)
    }

    fn leads(&self, leads: bool) {
        self.metrics.relay_leader.with_label_values(&[self.topic.name]).set(leads.into());
    }

    fn count(&self, result: &str, messages: usize) {
        self.metrics.relay_published_events.with_label_values(&[self.topic.name, result]).inc_by(messages as u64);
    }
}

/// None of these was taken: the bus is away, or refuses whatever it is given.
fn refuses_all(published: Published) -> Error {
    published.away.map_or_else(|| Error::RefusesAll(last_reason(published.outcomes)), Error::from)
}
