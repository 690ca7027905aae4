//! Publishing to a topic of the embedded bus.

use std::sync::Arc;

use chrono::Utc;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::{Instant, timeout_at};

use super::Embedded;
use super::queue::{Published, Queue};
use crate::{Blame, Error, Message, PUBLISH_DEADLINE, PublishError, Publisher, limits};

#[derive(Debug, Clone)]
pub struct EmbeddedPublisher {
    bus: Embedded,
    topic: String,
}

impl EmbeddedPublisher {
    pub(super) fn new(bus: Embedded, topic: String) -> Self {
        Self { bus, topic }
    }

    async fn send(&self, messages: Vec<Message>) -> Result<(), PublishError> {
        let deadline = Instant::now() + PUBLISH_DEADLINE;
        let queues = self.bus.queues_of(&self.topic).map_err(|reason| self.away(0, reason))?;
        let mut confirmed = 0;
        for request in limits::requests(messages) {
            limits::request(&request).map_err(|refused| self.error(confirmed, refused.to_string(), Blame::Messages))?;
            let count = request.len();
            if timeout_at(deadline, room(&queues)).await.is_err() {
                return Err(self.away(confirmed, format!("a subscription has been full for {PUBLISH_DEADLINE:?}")));
            }
            let page = Published::page(request, Utc::now());
            for queue in &queues {
                queue.push(page.iter().map(Arc::clone));
            }
            confirmed += count;
        }
        Ok(())
    }

    fn away(&self, confirmed: usize, reason: String) -> PublishError {
        self.error(confirmed, reason, Blame::Bus)
    }

    fn error(&self, confirmed: usize, reason: String, blames: Blame) -> PublishError {
        let doing = format!("publishing to the embedded topic {}", self.topic);
        PublishError { confirmed, source: Error { doing, reason, blames } }
    }
}

async fn room(queues: &[Arc<Queue>]) {
    for queue in queues {
        queue.room().await;
    }
}

impl Publisher for EmbeddedPublisher {
    fn publish(&self, messages: Vec<Message>) -> BoxFuture<'_, Result<(), PublishError>> {
        self.send(messages).boxed()
    }
}
