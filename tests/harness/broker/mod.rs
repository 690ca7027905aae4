//! A Pub/Sub of a test's own: Google's protocol in front of the embedded bus, with chaos in between.
//!
//! Google's emulator keeps what it has leased to a client that was killed, slows down with every message, and never loses
//! one, nor refuses one. This one gives back at once what a dead client held, has the limits of the real service, and
//! misbehaves on purpose.

mod protocol;
mod service;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::{Chaos, Embedded, Receipt, Spec};
use events::Topic;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

use super::catalogue;

#[derive(Clone)]
pub struct Broker {
    /// host:port, as `PUBSUB_EMULATOR_HOST` has it.
    pub host: String,
    pub bus: Embedded,
    pub chaos: Chaos,
    /// A limit that the fleet does not know of: a request with a message that holds this text is refused.
    pub refused: Arc<Mutex<Option<&'static str>>>,
    /// What it answers to each request to publish: the topic is gone, or who asks may not.
    pub away: Arc<Mutex<Option<tonic::Code>>>,
    /// How long it takes over each request to publish.
    pub pause: Arc<Mutex<Duration>>,
    /// What its clients have not settled, by ack id.
    unsettled: Arc<Mutex<HashMap<String, Receipt>>>,
    streams: Arc<AtomicU64>,
    /// Ends it when the last clone is gone.
    _stop: Arc<tokio_util::sync::DropGuard>,
}

impl Broker {
    /// With the fleet's topics, and subscriptions that bring back at once what was given back.
    pub async fn start(chaos: Chaos) -> Self {
        Self::with(chaos, |topic| Spec::new(topic.subscription, topic.name)).await
    }

    pub async fn with(chaos: Chaos, spec: impl Fn(&Topic) -> Spec) -> Self {
        let bus = Embedded::new();
        for &topic in catalogue().topics() {
            let dead_letter = topic.dead_letter();
            bus.ensure_topic(topic.name);
            bus.ensure_topic(&dead_letter);
            bus.ensure_subscription(Spec::new(&dead_letter, &dead_letter)).unwrap();
            let policy = Spec {
                dead_letter_topic: Some(dead_letter),
                max_delivery_attempts: Topic::MAX_DELIVERY_ATTEMPTS,
                ..spec(topic)
            };
            bus.ensure_subscription(policy).unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let stop = CancellationToken::new();
        let broker = Self {
            host,
            bus,
            chaos,
            refused: Arc::default(),
            away: Arc::default(),
            pause: Arc::default(),
            unsettled: Arc::default(),
            streams: Arc::default(),
            _stop: Arc::new(stop.clone().drop_guard()),
        };
        let (publisher, subscriber) = service::of(&broker);
        let serving = tonic::transport::Server::builder()
            .add_service(publisher)
            .add_service(subscriber)
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.cancelled_owned());
        tokio::spawn(serving);
        broker
    }

    /// Messages that the broker gave up on, so far.
    pub async fn dead_letters(&self) -> usize {
        let mut count = 0;
        for &topic in catalogue().topics() {
            let (sender, mut deliveries) = tokio::sync::mpsc::channel(1);
            let subscription = self.bus.subscription(&topic.dead_letter());
            let stop = CancellationToken::new();
            let receiving = tokio::spawn({
                let stop = stop.clone();
                async move { bus::Subscription::receive(&subscription, sender, stop).await }
            });
            while let Ok(Some(delivery)) = tokio::time::timeout(Duration::from_millis(100), deliveries.recv()).await {
                count += 1;
                delivery.receipt.ack();
            }
            stop.cancel();
            drop(deliveries);
            receiving.await.unwrap().unwrap();
        }
        count
    }

    fn stream(&self) -> u64 {
        self.streams.fetch_add(1, Ordering::Relaxed)
    }

    fn lend(&self, ack_id: String, receipt: Receipt) {
        self.unsettled.lock().unwrap().insert(ack_id, receipt);
    }

    fn settle(&self, ack_ids: &[String], settle: impl Fn(Receipt)) {
        // Outside of the lock: a receipt may do work of its own.
        let receipts: Vec<_> = {
            let mut unsettled = self.unsettled.lock().unwrap();
            ack_ids.iter().filter_map(|id| unsettled.remove(id)).collect()
        };
        receipts.into_iter().for_each(settle);
    }

    /// Gives back what a stream still holds.
    fn end_stream(&self, stream: u64) {
        let prefix = format!("{stream}-");
        let held: Vec<String> = {
            let unsettled = self.unsettled.lock().unwrap();
            unsettled.keys().filter(|id| id.starts_with(&prefix)).cloned().collect()
        };
        self.settle(&held, Receipt::nack);
    }
}
