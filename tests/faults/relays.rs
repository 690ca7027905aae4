//! Relays within the test, the bus that they publish to, and what comes out of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bus::{Blame, Embedded, Message, PublishError, Publisher, Spec, Subscription};
use event_store::relay::Relay;
use event_store::tail::Head;
use events::AppendLine;
use futures::FutureExt;
use futures::future::BoxFuture;
use projections::topics::INTEGRATION;
use prometheus::Registry;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::harness::parts::{LIMIT, Parts, line};
use crate::harness::{Database, eventually};

pub const REFUSED: &str = "select count(*) from refused_messages";
pub const CURSOR: &str = "select coalesce(max(position), 0) from relay_cursors where topic = 'integration-events'";

/// A relay in this process, with numbers of its own.
pub struct Running {
    registry: Registry,
    stop: CancellationToken,
    relaying: JoinHandle<()>,
}

impl Running {
    pub fn start(database: &Database, publisher: Arc<dyn Publisher>) -> Self {
        Self::hearing(database, publisher, Head::default())
    }

    pub fn hearing(database: &Database, publisher: Arc<dyn Publisher>, head: Head) -> Self {
        let registry = Registry::new();
        let metrics = event_store::Metrics::register(&registry).unwrap();
        let relay = Relay { topic: &INTEGRATION, publisher, pool: database.pool.clone(), head, metrics };
        let stop = CancellationToken::new();
        Self { registry, relaying: tokio::spawn(relay.run(stop.clone())), stop }
    }

    /// The sum of a counter over the labels that hold this value.
    pub fn counted(&self, name: &str, label: &str) -> u64 {
        let family = self.registry.gather().into_iter().find(|family| family.name() == name);
        let metrics = family.iter().flat_map(|family| family.get_metric());
        let labelled = metrics.filter(|metric| metric.get_label().iter().any(|pair| pair.value() == label));
        labelled.map(|metric| metric.get_counter().get_value() as u64).sum()
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.relaying.await.unwrap();
    }
}

/// What arrives at the topic's subscription: when each event came first, and how often.
#[derive(Clone, Default)]
pub struct Received(pub Arc<Mutex<HashMap<Uuid, (Instant, usize)>>>);

impl Received {
    pub fn from(bus: &Embedded) -> Self {
        let received = Self::default();
        let (sender, mut deliveries) = tokio::sync::mpsc::channel(1000);
        let subscription = bus.subscription(INTEGRATION.subscription);
        tokio::spawn(async move { subscription.receive(sender, CancellationToken::new()).await });
        let events = received.0.clone();
        tokio::spawn(async move {
            while let Some(delivery) = deliveries.recv().await {
                let id = events::wire::identify(&delivery.message.data).unwrap().event_id.0;
                events.lock().unwrap().entry(id).or_insert((Instant::now(), 0)).1 += 1;
                delivery.receipt.ack();
            }
        });
        received
    }

    pub async fn all(&self, ids: &[Uuid]) {
        eventually("all are received", LIMIT, async || {
            let received = self.0.lock().unwrap();
            let missing = ids.iter().filter(|id| !received.contains_key(id)).count();
            if missing == 0 { Ok(()) } else { Err(format!("{missing} of {} are not", ids.len())) }
        })
        .await;
    }

    pub fn times(&self) -> BTreeMap<usize, usize> {
        let mut times = BTreeMap::new();
        self.0.lock().unwrap().values().for_each(|(_, count)| *times.entry(*count).or_default() += 1);
        times
    }
}

pub fn bus() -> Embedded {
    let bus = Embedded::new();
    bus.ensure_topic(INTEGRATION.name);
    bus.ensure_subscription(Spec::new(INTEGRATION.subscription, INTEGRATION.name)).unwrap();
    bus
}

/// The first event of a user of its own.
pub fn saying(text: &str) -> AppendLine {
    line("User", Uuid::now_v7(), 0, "UserDeleted", &json!({ "note": text }))
}

pub async fn appended(parts: &Parts, count: usize) -> Vec<Uuid> {
    let lines: Vec<_> = (0..count).map(|_| saying("hello")).collect();
    parts.load(&lines).await;
    ids(&parts.database).await
}

pub async fn ids(database: &Database) -> Vec<Uuid> {
    sqlx::query_scalar("select event_id from events order by position").fetch_all(&database.pool).await.unwrap()
}

pub async fn cursor_at(database: &Database, position: i64) {
    eventually("the cursor is there", LIMIT, async || {
        let at = database.count(CURSOR).await;
        if at == position { Ok(()) } else { Err(at.to_string()) }
    })
    .await;
}

/// A bus that is as slow, or as stubborn, as a test wants it.
pub struct Odd {
    pub inner: bus::embedded::EmbeddedPublisher,
    pub pause: Duration,
    pub stubborn: Arc<AtomicBool>,
    /// After so many requests it is away.
    pub away_after: Arc<AtomicUsize>,
    /// Messages that it was ever asked to publish.
    pub asked: Arc<AtomicUsize>,
}

impl Publisher for Odd {
    fn publish(&self, messages: Vec<Message>) -> BoxFuture<'_, Result<(), PublishError>> {
        async move {
            self.asked.fetch_add(messages.len(), Ordering::Relaxed);
            let here = |left: usize| left.checked_sub(1);
            if self.away_after.fetch_update(Ordering::Relaxed, Ordering::Relaxed, here).is_err() {
                let (doing, reason) = ("publishing".to_owned(), "nobody answers".to_owned());
                let source = bus::Error { doing, reason, blames: Blame::Bus };
                return Err(PublishError { confirmed: 0, source });
            }
            tokio::time::sleep(self.pause).await;
            if self.stubborn.load(Ordering::Relaxed) {
                let (doing, reason) = ("publishing".to_owned(), "it does not match the schema".to_owned());
                let source = bus::Error { doing, reason, blames: Blame::Messages };
                return Err(PublishError { confirmed: 0, source });
            }
            self.inner.publish(messages).await
        }
        .boxed()
    }
}
