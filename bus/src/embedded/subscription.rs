//! Receiving from a subscription of the embedded bus.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::Embedded;
use super::queue::{Queue, Queued};
use crate::{Blame, Delivery, Error, Receipt, Room, Settle, Subscription, Taken};

#[derive(Debug, Clone)]
pub struct EmbeddedSubscription {
    bus: Embedded,
    name: String,
    max_outstanding: u32,
    room: Room,
}

impl EmbeddedSubscription {
    /// More than any batch of a worker, far less than [`Embedded::BACKLOG`].
    const MAX_OUTSTANDING: u32 = 8_000;

    /// Bytes of unsettled messages, unless it is given a [`Room`].
    const MAX_BYTES: usize = 48 << 20;

    pub(super) fn new(bus: Embedded, name: String) -> Self {
        Self { bus, name, max_outstanding: Self::MAX_OUTSTANDING, room: Room::new(Self::MAX_BYTES) }
    }

    /// The most deliveries that one receiver may hold unsettled.
    #[must_use]
    pub fn with_max_outstanding(self, max_outstanding: u32) -> Self {
        Self { max_outstanding, ..self }
    }

    /// The room in which its unsettled messages must find place. Others may fill it, too.
    #[must_use]
    pub fn within(self, room: Room) -> Self {
        Self { room, ..self }
    }

    async fn run(&self, deliveries: mpsc::Sender<Delivery>, stop: CancellationToken) -> Result<(), Error> {
        let queue = self.bus.queue(&self.name).ok_or_else(|| Error {
            doing: format!("receiving from the embedded subscription {}", self.name),
            reason: "it does not exist: create it first".to_owned(),
            blames: Blame::Bus,
        })?;
        let outstanding = Arc::new(Semaphore::new(self.max_outstanding as usize));
        tokio::select! {
            () = stop.cancelled() => {}
            () = deliveries.closed() => {}
            () = hand_over(&queue, &outstanding, &self.room, &deliveries) => {}
        }
        // The consumer sees the end of the channel as soon as nothing more will come, not when all is settled.
        drop(deliveries);
        let _all_settled = outstanding.acquire_many(self.max_outstanding).await;
        Ok(())
    }
}

impl Subscription for EmbeddedSubscription {
    fn receive(&self, deliveries: mpsc::Sender<Delivery>, stop: CancellationToken) -> BoxFuture<'_, Result<(), Error>> {
        self.run(deliveries, stop).boxed()
    }
}

/// Forwards until the other end is dropped. Can be cancelled at any time: a message is popped only when nothing is left to
/// wait for.
async fn hand_over(queue: &Arc<Queue>, outstanding: &Arc<Semaphore>, room: &Room, deliveries: &mpsc::Sender<Delivery>) {
    loop {
        queue.filled().await;
        let Ok(permit) = Arc::clone(outstanding).acquire_owned().await else {
            return;
        };
        let Ok(slot) = deliveries.reserve().await else {
            return;
        };
        room.opened().await;
        // Another receiver may have been faster.
        if let Some(queued) = queue.pop() {
            slot.send(delivery(queue, permit, room, queued));
        }
    }
}

fn delivery(queue: &Arc<Queue>, permit: OwnedSemaphorePermit, room: &Room, queued: Queued) -> Delivery {
    let taken = room.take(queued.published.message.bytes());
    Delivery {
        message: queued.published.message.clone(),
        message_id: queued.published.id.to_string(),
        published_at: Some(queued.published.at),
        attempt: Some(queued.attempts),
        receipt: Receipt::new(Lease { queue: Arc::clone(queue), queued, _permit: permit, _taken: taken }),
    }
}

/// A message in a consumer's hands. The permit is freed last, when the queue knows the answer.
struct Lease {
    queue: Arc<Queue>,
    queued: Queued,
    _permit: OwnedSemaphorePermit,
    _taken: Taken,
}

impl Settle for Lease {
    fn ack(self: Box<Self>) {
        self.queue.settle(&self.queued);
    }

    fn nack(self: Box<Self>) {
        let Self { queue, queued, _permit, _taken } = *self;
        queue.give_back(queued);
    }
}
