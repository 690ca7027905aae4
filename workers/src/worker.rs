//! The worker of one topic: receive, resolve, apply, acknowledge.
//!
//! Clean end: when `stop` is cancelled it pulls no more, finishes the batch in hand, gives the rest back, and returns.

use std::sync::Arc;
use std::time::Duration;

use bus::{Delivery, Subscription};
use event_store::database;
use event_store::tail::Head;
use events::Topic;
use futures::future::try_join_all;
use kill_points::kill_point;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::apply::{self, Applier, Mode};
use crate::redrive::{Redrive, RedriveMessages};
use crate::replay::Replays;
use crate::resolve::{self, Resolver};
use crate::retry;
use crate::sweep::Sweep;

/// Deliveries applied in one transaction at most.
pub const BATCH: usize = 1000;

/// How long a stopping worker waits for the bus to take its last answers. Together with the batch in hand it stays
/// below the 10 s that Cloud Run gives.
const DRAIN: Duration = Duration::from_secs(6);

pub struct Worker {
    pub resolver: Resolver,
    /// One for each projection of the topic.
    pub appliers: Vec<Applier>,
    pub head: Head,
    pub sweep_grace: Duration,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("resolving: {0}")]
    Resolve(#[from] resolve::Error),
    #[error("applying: {0}")]
    Apply(#[from] apply::Error),
}

impl Worker {
    fn topic(&self) -> &'static Topic {
        self.resolver.topic
    }

    /// Works until stopped, on `deliveries` and on what it pulls from `subscriptions` into their `sender`. What the broker
    /// gave up on is a subscription like any other: applied, or parked where people look.
    pub async fn run(
        self,
        subscriptions: Vec<Arc<dyn Subscription>>,
        mut deliveries: mpsc::Receiver<Delivery>,
        sender: mpsc::Sender<Delivery>,
        stop: CancellationToken,
    ) {
        let mut background = JoinSet::new();
        for applier in &self.appliers {
            let sweep = Sweep { applier: applier.clone(), head: self.head.clone(), grace: self.sweep_grace };
            background.spawn(sweep.run(stop.clone()));
        }
        background.spawn(Replays::of(&self.appliers).run(stop.clone()));
        for applier in self.appliers.iter().cloned() {
            background.spawn(Redrive { applier }.run(stop.clone()));
        }
        let messages = RedriveMessages { resolver: self.resolver.clone(), appliers: self.appliers.clone() };
        background.spawn(messages.run(stop.clone()));
        let mut pulling = JoinSet::new();
        for subscription in subscriptions {
            pulling.spawn(pull(self.topic(), subscription, sender.clone(), stop.clone()));
        }
        drop(sender);

        let mut batch = Vec::with_capacity(BATCH);
        while let Some(count) = stop.run_until_cancelled(deliveries.recv_many(&mut batch, BATCH)).await {
            if count == 0 {
                break;
            }
            kill_point!("worker.received");
            self.settle(std::mem::take(&mut batch), &stop).await;
        }
        // What is still queued is given back by being dropped.
        deliveries.close();
        while deliveries.try_recv().is_ok() {}
        drop(batch);
        let drained = async {
            while pulling.join_next().await.is_some() {}
            while background.join_next().await.is_some() {}
        };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tracing::warn!(topic = self.topic().name, "the bus did not take the last answers in time; they come again");
        }
    }

    /// Settles a batch and acknowledges it. While Postgres is away it holds the batch and takes no other.
    async fn settle(&self, batch: Vec<Delivery>, stop: &CancellationToken) {
        let settled = retry::until_done("a batch of deliveries", stop, || self.try_settle(&batch)).await;
        let Some(later) = settled else { return };
        kill_point!("worker.applied");
        let buried = batch.iter().filter(|delivery| delivery.message.is_dead_letter()).count();
        self.resolver.metrics.broker_dead_letters.with_label_values(&[self.topic().name]).inc_by(buried as u64);
        let mut later = later.into_iter().peekable();
        for (index, delivery) in batch.into_iter().enumerate() {
            if later.next_if_eq(&index).is_some() {
                delivery.receipt.nack();
            } else {
                delivery.receipt.ack();
            }
        }
        kill_point!("worker.acked");
    }

    /// Returns the indexes of the deliveries to give back, in order.
    async fn try_settle(&self, batch: &[Delivery]) -> Result<Vec<usize>, Error> {
        let mut resolved = database::heard("resolving", self.resolver.resolve(batch)).await?;
        kill_point!("worker.resolved");
        let events = &resolved.events;
        if !events.is_empty() {
            try_join_all(self.appliers.iter().map(|applier| applier.apply(events, Mode::Live))).await?;
        }
        resolved.later.sort_unstable();
        Ok(resolved.later)
    }
}

/// Keeps pulling until stopped; a subscription that cannot be read is an error for the operator, and is tried again.
async fn pull(
    topic: &'static Topic,
    subscription: Arc<dyn Subscription>,
    deliveries: mpsc::Sender<Delivery>,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        match subscription.receive(deliveries.clone(), stop.clone()).await {
            Ok(()) => break,
            Err(error) => {
                tracing::error!(topic = topic.name, %error, "pulling; trying again in 5 s, the sweep goes on");
                stop.run_until_cancelled(tokio::time::sleep(Duration::from_secs(5))).await;
            }
        }
    }
}
