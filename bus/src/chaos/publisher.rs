//! A publisher whose pages arrive as chaos will have them.

use std::sync::Mutex;

use futures::FutureExt;
use futures::future::BoxFuture;
use rand::Rng;
use rand::rngs::StdRng;

use super::{Chaos, count};
use crate::{Message, PublishError, Publisher};

#[derive(Debug)]
pub struct ChaosPublisher<P> {
    chaos: Chaos,
    rng: Mutex<StdRng>,
    inner: P,
}

impl<P: Publisher> ChaosPublisher<P> {
    pub(super) fn new(chaos: Chaos, inner: P) -> Self {
        Self { rng: Mutex::new(chaos.rng()), chaos, inner }
    }

    /// Which message of the page goes to which place, by index.
    fn disorder(&self, messages: usize) -> Vec<usize> {
        let mut rng = self.rng.lock().expect("nothing panics while it holds this lock");
        let mut order = Vec::with_capacity(messages);
        for message in 0..messages {
            for _ in 0..self.chaos.copies(&mut rng) {
                order.push(message);
            }
        }
        if self.chaos.shuffle > 0 {
            let mut shuffled = 0;
            for place in 0..order.len() {
                let last = (place + self.chaos.shuffle).min(order.len() - 1);
                let other = rng.random_range(place..=last);
                order.swap(place, other);
                shuffled += u64::from(other != place);
            }
            count(&self.chaos.faults.shuffled, shuffled);
        }
        order
    }

    async fn send(&self, messages: Vec<Message>) -> Result<(), PublishError> {
        let order = self.disorder(messages.len());
        let page = order.iter().map(|&message| messages[message].clone()).collect();
        self.inner.publish(page).await.map_err(|error| {
            // The caller counts in its own order: up to the first message of which a copy is missing.
            let missing = order.iter().skip(error.confirmed).min();
            PublishError { confirmed: missing.copied().unwrap_or(messages.len()), ..error }
        })
    }
}

impl<P: Publisher> Publisher for ChaosPublisher<P> {
    fn publish(&self, messages: Vec<Message>) -> BoxFuture<'_, Result<(), PublishError>> {
        self.send(messages).boxed()
    }
}
