//! A subscription whose deliveries, and whose acks, arrive as chaos will have them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Chaos, count};
use crate::{Delivery, Error, Receipt, Settle, Subscription};

/// How long a shuffled delivery is held when no other comes: the last ones must get through too.
const HELD_BACK_AT_MOST: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub struct ChaosSubscription<S> {
    chaos: Chaos,
    inner: S,
}

impl<S: Subscription> ChaosSubscription<S> {
    pub(super) fn new(chaos: Chaos, inner: S) -> Self {
        Self { chaos, inner }
    }

    async fn run(&self, deliveries: mpsc::Sender<Delivery>, stop: CancellationToken) -> Result<(), Error> {
        let (inner, arriving) = mpsc::channel(1);
        // The pump ends first when it is stopped or the consumer is gone, and drops its end of the channel; that, and the
        // deliveries it drops with it, ends the other.
        let pump = self.pump(arriving, deliveries, stop.clone());
        let (received, ()) = tokio::join!(self.inner.receive(inner, stop), pump);
        received
    }

    async fn pump(
        &self,
        mut arriving: mpsc::Receiver<Delivery>,
        deliveries: mpsc::Sender<Delivery>,
        stop: CancellationToken,
    ) {
        let mut rng = self.chaos.rng();
        let mut held = Vec::new();
        // Whether patience has ended: whatever is held goes out, still in disorder.
        let mut releasing = false;
        loop {
            releasing &= !held.is_empty();
            let overfull = releasing || held.len() > self.chaos.shuffle;
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                slot = deliveries.reserve(), if overfull => match slot {
                    Ok(slot) => slot.send(self.pick(&mut held, &mut rng)),
                    Err(_) => return,
                },
                delivery = arriving.recv(), if !overfull => match delivery {
                    Some(delivery) => self.hold(delivery, &mut held, &mut rng),
                    None => return,
                },
                () = deliveries.closed() => return,
                slot = patiently(&deliveries), if !overfull && !held.is_empty() => match slot {
                    Ok(slot) => {
                        slot.send(self.pick(&mut held, &mut rng));
                        releasing = true;
                    }
                    Err(_) => return,
                },
            }
        }
    }

    fn hold(&self, delivery: Delivery, held: &mut Vec<Delivery>, rng: &mut StdRng) {
        let copies = self.chaos.copies(rng);
        let Delivery { message, message_id, published_at, attempt, receipt } = delivery;
        if copies == 0 {
            return receipt.ack();
        }
        let lose_ack = rng.random_bool(self.chaos.lose_acks);
        let original = Arc::new(Original {
            chaos: self.chaos.clone(),
            lose_ack,
            unacked: AtomicU32::new(copies),
            receipt: Mutex::new(Some(receipt)),
        });
        held.extend((0..copies).map(|_| Delivery {
            message: message.clone(),
            message_id: message_id.clone(),
            published_at,
            attempt,
            receipt: Receipt::new(Copy(Arc::clone(&original))),
        }));
    }

    fn pick(&self, held: &mut Vec<Delivery>, rng: &mut StdRng) -> Delivery {
        let index = rng.random_range(0..held.len().min(1 + self.chaos.shuffle));
        if index > 0 {
            count(&self.chaos.faults.shuffled, 1);
        }
        held.swap_remove(index)
    }
}

impl<S: Subscription> Subscription for ChaosSubscription<S> {
    fn receive(&self, deliveries: mpsc::Sender<Delivery>, stop: CancellationToken) -> BoxFuture<'_, Result<(), Error>> {
        self.run(deliveries, stop).boxed()
    }
}

async fn patiently(
    deliveries: &mpsc::Sender<Delivery>,
) -> Result<mpsc::Permit<'_, Delivery>, mpsc::error::SendError<()>> {
    tokio::time::sleep(HELD_BACK_AT_MOST).await;
    deliveries.reserve().await
}

/// The one receipt behind all copies: acked when the last copy is, given back as soon as any copy is.
struct Original {
    chaos: Chaos,
    lose_ack: bool,
    unacked: AtomicU32,
    receipt: Mutex<Option<Receipt>>,
}

impl Original {
    fn take(&self) -> Option<Receipt> {
        self.receipt.lock().expect("nothing panics while it holds this lock").take()
    }
}

struct Copy(Arc<Original>);

impl Settle for Copy {
    fn ack(self: Box<Self>) {
        let original = self.0;
        if original.unacked.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        match original.take() {
            Some(receipt) if original.lose_ack => {
                count(&original.chaos.faults.acks_lost, 1);
                receipt.nack();
            }
            Some(receipt) => receipt.ack(),
            None => {}
        }
    }

    fn nack(self: Box<Self>) {
        drop(self.0.take());
    }
}
