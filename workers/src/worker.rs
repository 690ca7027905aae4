//! The worker of one topic: receive, resolve, apply, acknowledge.
//!
//! Clean end: when `stop` is cancelled it pulls no more, finishes the batch in hand, gives the rest back, and returns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Delivery, Subscription};
use bytes::Bytes;
use event_store::tail::Head;
use events::{EventId, Topic};
use kill_points::kill_point;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::apply::Applier;
use crate::generations::Generations;
use crate::lanes::Lanes;
use crate::part::{self, Ended, endless};
use crate::received::{self, Received};
use crate::redrive::{Redrive, RedriveMessages};
use crate::replay::Replays;
use crate::resolve::{Resolved, Resolver};
use crate::retry;
use crate::sweep::Sweep;
use crate::verdict::Event;

/// Deliveries resolved at a time at most. Their bytes are bounded by the room that they take, see [`bus::Room`].
pub const BATCH: usize = 1000;

/// Bytes of unsettled messages that a worker has in hand, unless it is told otherwise: with what becomes of them on the
/// way, this fits into 512 MiB.
pub const MAX_OUTSTANDING_BYTES: usize = 48 << 20;

/// How long nothing more is said of a subscription that cannot be read.
const REMIND: Duration = Duration::from_secs(60);

/// How long a stopping worker waits for the bus to take its last answers. Together with the batch in hand it stays
/// below the 10 s that Cloud Run gives.
const DRAIN: Duration = Duration::from_secs(6);

pub struct Worker {
    pub resolver: Resolver,
    /// One for each projection of the topic.
    pub appliers: Vec<Applier>,
    pub head: Head,
    pub sweep_grace: Duration,
    /// What keeps the generations that are not live.
    pub generations: Generations,
}

impl Worker {
    fn topic(&self) -> &'static Topic {
        self.resolver.topic
    }

    /// Works until stopped, on `deliveries` and on what it pulls from `subscriptions` into their `sender`. What the broker
    /// gave up on is a subscription like any other: applied, or parked where people look.
    ///
    /// # Errors
    /// A part of it ended. The worker is of no use then, and its process must end.
    pub async fn run(
        self,
        subscriptions: Vec<Arc<dyn Subscription>>,
        mut deliveries: mpsc::Receiver<Delivery>,
        sender: mpsc::Sender<Delivery>,
        stop: CancellationToken,
    ) -> Result<(), Ended> {
        let mut background = self.background(&stop);
        for subscription in subscriptions {
            let pulling = pull(self.topic(), subscription, sender.clone(), stop.clone());
            background.spawn(endless(format!("pulling {}", self.topic().name), stop.clone(), pulling));
        }
        drop(sender);

        let mut lanes = Lanes::of(&self.appliers, stop.clone());
        let ended = tokio::select! {
            biased;
            ended = part::first(&mut background) => Err(ended),
            () = self.work(&mut lanes, &mut deliveries, &stop) => Ok(()),
        };
        // What a lane that was left behind has begun is rolled back now, so that its locks do not outlast the work.
        drop(lanes);
        // What is still queued is given back by being dropped.
        deliveries.close();
        while deliveries.try_recv().is_ok() {}
        if ended.is_ok() && tokio::time::timeout(DRAIN, part::all(&mut background)).await.is_err() {
            tracing::warn!(topic = self.topic().name, "the bus did not take the last answers in time; they come again");
        }
        ended
    }

    /// What goes on beside the deliveries.
    fn background(&self, stop: &CancellationToken) -> JoinSet<Result<(), Ended>> {
        let mut parts = JoinSet::new();
        for applier in self.appliers.iter().cloned() {
            let name = applier.projection.name();
            let sweep = Sweep { applier: applier.clone(), head: self.head.clone(), grace: self.sweep_grace };
            parts.spawn(endless(format!("the sweep of {name}"), stop.clone(), sweep.run(stop.clone())));
            let redrive = Redrive { applier };
            parts.spawn(endless(format!("redriving {name}"), stop.clone(), redrive.run(stop.clone())));
        }
        let replays = Replays::of(&self.appliers);
        parts.spawn(endless("replaying", stop.clone(), replays.run(stop.clone())));
        let generations = self.generations.clone();
        parts.spawn(endless("keeping generations", stop.clone(), generations.run(stop.clone())));
        let messages = RedriveMessages { resolver: self.resolver.clone(), appliers: self.appliers.clone() };
        parts.spawn(endless("redriving messages", stop.clone(), messages.run(stop.clone())));
        parts
    }

    /// Takes deliveries, a batch after the other, until stopped or until none will come.
    async fn work(&self, lanes: &mut Lanes, deliveries: &mut mpsc::Receiver<Delivery>, stop: &CancellationToken) {
        loop {
            let mut batch = Vec::new();
            let taken = stop.run_until_cancelled(deliveries.recv_many(&mut batch, BATCH));
            match lanes.beside(taken).await {
                None | Some(0) => break,
                Some(_) => {}
            }
            kill_point!("worker.received");
            self.settle(lanes, batch, stop).await;
        }
    }

    /// Settles a batch and acknowledges it. While Postgres is away it holds the batch and takes no other.
    async fn settle(&self, lanes: &mut Lanes, mut batch: Vec<Delivery>, stop: &CancellationToken) {
        let began = Instant::now();
        let metrics = &self.resolver.metrics;
        let _in_hand = metrics.begun(self.topic(), &batch);
        let mut spans = received::spans(&batch, self.topic());
        let messages: Vec<_> =
            batch.iter().zip(&spans).map(|(delivery, span)| Received::within(delivery, span)).collect();
        let resolving = retry::until_done("a batch of deliveries", stop, || self.resolver.messages(&messages));
        let Some(Resolved { events, rest, later }) = lanes.beside(resolving).await else { return };
        kill_point!("worker.resolved");
        // What they said is not needed any more.
        for delivery in &mut batch {
            delivery.message.data = Bytes::new();
        }
        if !self.apply(lanes, events, rest, stop).await {
            return;
        }
        kill_point!("worker.applied");
        let buried = batch.iter().filter(|delivery| delivery.message.is_dead_letter()).count();
        metrics.broker_dead_letters.with_label_values(&[self.topic().name]).inc_by(buried as u64);
        metrics.answered(self.topic(), batch.len() - later.len(), later.len(), began.elapsed());
        let mut later = sorted(later).into_iter().peekable();
        for (index, delivery) in batch.into_iter().enumerate() {
            if later.next_if_eq(&index).is_some() {
                spans[index].fail("given_back", "its predecessors are still to come");
                delivery.receipt.nack();
            } else {
                delivery.receipt.ack();
            }
        }
        kill_point!("worker.acked");
    }

    /// Applies what a batch speaks of, as much at a time as is good for one transaction; `false`: it was stopped.
    async fn apply(
        &self,
        lanes: &mut Lanes,
        mut events: Vec<Event>,
        mut rest: Vec<EventId>,
        stop: &CancellationToken,
    ) -> bool {
        loop {
            if !events.is_empty() && !lanes.apply(events.into()).await {
                return false;
            }
            if rest.is_empty() {
                return true;
            }
            let reading = retry::until_done("the rest of a batch of deliveries", stop, || self.resolver.part(&rest));
            let Some(part) = lanes.beside(reading).await else { return false };
            (events, rest) = (part.events, part.rest);
        }
    }
}

fn sorted(mut indexes: Vec<usize>) -> Vec<usize> {
    indexes.sort_unstable();
    indexes
}

/// Keeps pulling until stopped; a subscription that cannot be read is an error for the operator, and is tried again.
async fn pull(
    topic: &'static Topic,
    subscription: Arc<dyn Subscription>,
    deliveries: mpsc::Sender<Delivery>,
    stop: CancellationToken,
) {
    let mut told: Option<Instant> = None;
    while !stop.is_cancelled() {
        match subscription.receive(deliveries.clone(), stop.clone()).await {
            Ok(()) => break,
            Err(error) => {
                if told.is_none_or(|told| told.elapsed() >= REMIND) {
                    told = Some(Instant::now());
                    let topic = topic.name;
                    tracing::error!(topic, %error, "pulling; trying again every 5 s, said once a minute; the sweep goes on");
                }
                stop.run_until_cancelled(tokio::time::sleep(Duration::from_secs(5))).await;
            }
        }
    }
}
