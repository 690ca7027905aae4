//! When a worker says that a message need not come again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bus::{Delivery, Receipt, Settle};
use event_store::proto::event_store_client::EventStoreClient;
use fleet::client::endpoint;
use kill_points::hold_at;
use projections::topics::{INTEGRATION, PROGRESS};
use prometheus::Registry;
use rand::Rng;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use workers::Metrics;
use workers::generations::Generations;
use workers::resolve::Resolver;
use workers::worker::Worker;

use crate::harness::eventually;
use crate::harness::parts::{LIMIT, Parts, consistent};
use crate::oracle::Held;
use crate::sample::{message, seeded};

#[derive(Debug, Default)]
pub struct Answers {
    acked: AtomicU32,
    nacked: AtomicU32,
}

struct Answer(Arc<Answers>);

impl Settle for Answer {
    fn ack(self: Box<Self>) {
        self.0.acked.fetch_add(1, Ordering::SeqCst);
    }

    fn nack(self: Box<Self>) {
        self.0.nacked.fetch_add(1, Ordering::SeqCst);
    }
}

impl Answers {
    pub fn of(&self) -> (u32, u32) {
        (self.acked.load(Ordering::SeqCst), self.nacked.load(Ordering::SeqCst))
    }
}

/// A worker within the test, without a bus.
pub fn worker(parts: &Parts, topic: &'static events::Topic) -> Worker {
    let appliers: Vec<_> = parts.appliers.iter().filter(|it| it.topic == topic).cloned().collect();
    let resolver = Resolver {
        topic,
        projections: appliers.iter().map(|applier| applier.projection).collect(),
        pool: parts.appliers[0].pool.clone(),
        store: EventStoreClient::new(endpoint("127.0.0.1:1").unwrap().connect_lazy().into()),
        metrics: Metrics::register(&Registry::new()).unwrap(),
        patience: workers::resolve::PREDECESSOR_WAIT,
        stride: Default::default(),
    };
    let reading = parts.database.pool.clone();
    let generations = Generations {
        appliers: appliers.clone(),
        head: Default::default(),
        reading,
        raised: Default::default(),
        throttled: true,
    };
    Worker { resolver, appliers, head: Default::default(), sweep_grace: Duration::from_secs(3600), generations }
}

/// Deliveries of all events of a topic, and the way to them.
pub async fn delivered(
    parts: &Parts,
    topic: &events::Topic,
    answers: &Arc<Answers>,
) -> (u32, mpsc::Sender<Delivery>, mpsc::Receiver<Delivery>) {
    let (sender, deliveries) = mpsc::channel(10_000);
    let mut count = 0;
    for event in parts.events(Default::default()).await {
        if topic.aggregate_types.contains(&event.data.aggregate_type.as_str()) {
            let delivery = Delivery {
                message: message(&event),
                message_id: event.position.to_string(),
                published_at: None,
                attempt: None,
                receipt: Receipt::new(Answer(answers.clone())),
            };
            sender.send(delivery).await.unwrap();
            count += 1;
        }
    }
    (count, sender, deliveries)
}

/// Brings deliveries to a worker and waits until it has settled them.
pub async fn delivered_to(worker: Worker, deliveries: Vec<Delivery>) {
    let (sender, receiver) = mpsc::channel(deliveries.len().max(1));
    let answers = Arc::new(Answers::default());
    let count = deliveries.len() as u32;
    for delivery in deliveries {
        let receipt = Receipt::new(Answer(answers.clone()));
        sender.send(Delivery { receipt, ..delivery }).await.unwrap();
    }
    let stop = CancellationToken::new();
    let running = tokio::spawn(worker.run(Vec::new(), receiver, sender, stop.clone()));
    eventually("all is settled", LIMIT, async || match answers.of() {
        (acked, 0) if acked == count => Ok(()),
        other => Err(format!("{other:?} of {count}")),
    })
    .await;
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn nothing_is_acknowledged_before_its_commit_and_everything_after_it() {
    let (parts, _) = Parts::with_history(seeded().random(), 300).await;
    for point in ["worker.received", "worker.resolved", "apply.written", "apply.recorded"] {
        let answers = Arc::new(Answers::default());
        let (count, sender, deliveries) = delivered(&parts, &INTEGRATION, &answers).await;
        let stop = CancellationToken::new();
        let running = worker(&parts, &INTEGRATION).run(Vec::new(), deliveries, sender, stop.clone());
        let held = hold_at(point, running).await;
        assert_eq!(answers.of(), (0, 0), "{point}: the batch is under way");
        // The process ends here: what it held comes again.
        drop(held);
        eventually("all is given back", LIMIT, async || match answers.of() {
            (0, nacked) if nacked == count => Ok(()),
            other => Err(format!("{other:?} of {count}")),
        })
        .await;
        consistent(&parts.database.pool).await;
        assert_eq!(parts.database.count("select count(*) from user_directory.users").await, 0, "{point}");
    }

    // Killed after the commit and before the ack: everything comes again, and all of it is a duplicate.
    let answers = Arc::new(Answers::default());
    let (count, sender, deliveries) = delivered(&parts, &INTEGRATION, &answers).await;
    let running = worker(&parts, &INTEGRATION).run(Vec::new(), deliveries, sender, CancellationToken::new());
    let held = hold_at("worker.applied", running).await;
    let applied = "select sum(version)::bigint from projected_aggregates where projection = 'user_directory'";
    let applied = parts.database.count(applied).await;
    assert_eq!((answers.of(), applied), ((0, 0), i64::from(count)), "committed and not acknowledged");
    drop(held);
    consistent(&parts.database.pool).await;

    let answers = Arc::new(Answers::default());
    let (count, sender, deliveries) = delivered(&parts, &INTEGRATION, &answers).await;
    let stop = CancellationToken::new();
    let worker = worker(&parts, &INTEGRATION);
    let registry = Registry::new();
    let metrics = Metrics::register(&registry).unwrap();
    let appliers = worker.appliers.iter().map(|it| workers::apply::Applier { metrics: metrics.clone(), ..it.clone() });
    let worker = Worker { appliers: appliers.collect(), ..worker };
    let running = tokio::spawn(worker.run(Vec::new(), deliveries, sender, stop.clone()));
    eventually("all is acknowledged", LIMIT, async || match answers.of() {
        (acked, 0) if acked == count => Ok(()),
        other => Err(format!("{other:?} of {count}")),
    })
    .await;
    stop.cancel();
    running.await.unwrap().unwrap();
    let counted = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    let duplicates =
        counted.lines().find(|line| line.contains(r#"result="duplicate""#) && line.contains("live")).unwrap();
    assert!(duplicates.ends_with(&format!(" {count}")), "{duplicates}");
    parts.converge(&Held::default()).await;
}

#[tokio::test]
async fn while_postgres_is_gone_a_worker_holds_its_batch_and_answers_nothing() {
    let (parts, _) = Parts::with_history(seeded().random(), 300).await;
    let answers = Arc::new(Answers::default());
    let (count, sender, deliveries) = delivered(&parts, &PROGRESS, &answers).await;
    let waiting = sender.clone();
    let proxy = crate::harness::proxy::Proxy::before(&parts.database.url).await;
    let away = Parts::reaching(crate::harness::Database::existing(&parts.database.url), &proxy.url);
    proxy.set(crate::harness::proxy::Weather::Down);
    let stop = CancellationToken::new();
    let mut worker = worker(&away, &PROGRESS);
    worker.resolver.pool = worker.appliers[0].pool.clone();
    let running = tokio::spawn(worker.run(Vec::new(), deliveries, sender, stop.clone()));
    eventually("it has tried several times", LIMIT, async || {
        if proxy.cuts() > 5 { Ok(()) } else { Err(proxy.cuts().to_string()) }
    })
    .await;
    assert_eq!(answers.of(), (0, 0), "no ack, and no delivery attempt is burnt by a nack");
    assert!(
        waiting.max_capacity() - waiting.capacity() >= count.saturating_sub(1000) as usize,
        "it takes no other batch"
    );
    proxy.set(crate::harness::proxy::Weather::Fair);
    eventually("all is acknowledged", LIMIT, async || match answers.of() {
        (acked, 0) if acked == count => Ok(()),
        other => Err(format!("{other:?} of {count}")),
    })
    .await;
    stop.cancel();
    running.await.unwrap().unwrap();
    parts.converge(&Held::default()).await;
}
