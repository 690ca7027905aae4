//! Publishing to a topic of the embedded bus.

use std::sync::Arc;

use chrono::Utc;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::Embedded;
use super::queue::Published;
use crate::{Error, Message, PublishError, Publisher};

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
        let queues = self.bus.queues_of(&self.topic).map_err(|reason| {
            let doing = format!("publishing to the embedded topic {}", self.topic);
            PublishError { confirmed: 0, source: Error { doing, reason } }
        })?;
        for queue in &queues {
            queue.room().await;
        }
        let page = Published::page(messages, Utc::now());
        for queue in &queues {
            queue.push(page.iter().map(Arc::clone));
        }
        Ok(())
    }
}

impl Publisher for EmbeddedPublisher {
    fn publish(&self, messages: Vec<Message>) -> BoxFuture<'_, Result<(), PublishError>> {
        self.send(messages).boxed()
    }
}
