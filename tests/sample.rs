//! The sample history through every way there is: the read models always end in the expected rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use bus::embedded::Embedded;
use bus::{Delivery, Publisher, Subscription};
use event_store::read::{self, Filter};
use event_store::relay::Relay;
use event_store::tail::Head;
use events::{Payload, Position, Recorded, Topic, wire};
use fleet::bus_choice::{Bus, Pull};
use fleet::roles;
use fleet::roles::worker::TopicWorker;
use futures::{FutureExt, StreamExt};
use prometheus::Registry;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::harness::client::{SAMPLE_EVENTS, load_sample};
use crate::harness::{Fleet, Process, catalogue, eventually, expected};
use crate::oracle;

/// Everything is slow when all cores are busy with other tests.
const LIMIT: Duration = Duration::from_secs(240);

/// Prints the seed, so that a failure can be had again with `FLEET_TEST_SEED`.
pub fn seeded() -> StdRng {
    let given = std::env::var("FLEET_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(rand::random);
    println!("seed: FLEET_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

#[tokio::test]
async fn the_sample_ends_in_the_expected_rows() {
    let fleet = Fleet::apart().await;
    let store = fleet.event_store().await;
    let _workers = fleet.workers(&store).await;
    load_sample(&store).await;

    let report = fleet.database.settled(SAMPLE_EVENTS, LIMIT).await;

    expected::assert_sample(&fleet.database.pool).await;
    oracle::assert_equal(&fleet.database.pool).await;
    let above = fleet.database.count("select count(*) from processed_event_ids").await;
    println!("processed_event_ids above the settled position: {above}");
    assert_eq!(above, 0, "everything is settled, so no id needs to be remembered");
    assert!(report.projections.iter().all(|status| status.parked == 0 && status.lag_seconds == 0.0));
}

#[tokio::test]
async fn three_deliveries_of_each_message_fully_shuffled_and_five_percent_lost_change_nothing() {
    let mut rng = seeded();
    let fleet = Fleet::apart().await;
    let builder = fleet.process("event-store").await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0");
    let store = builder.env("FLEET_NO_RELAY", "true").start().await;
    load_sample(&store).await;

    let mut lost = 0;
    let mut published = 0;
    for &topic in catalogue().topics() {
        let mut messages = Vec::new();
        for event in all(&fleet, &Filter::aggregate_types(topic.aggregate_types)).await {
            if rng.random_bool(0.05) {
                lost += 1;
                continue;
            }
            messages.extend([message(&event), message(&event), message(&event)]);
        }
        messages.shuffle(&mut rng);
        published += messages.len();
        let publisher = fleet.project.google.publisher(topic.name);
        for page in messages.chunks(1000) {
            publisher.publish(page.to_vec()).await.unwrap();
        }
    }
    println!("{published} messages published, {lost} events never");
    assert!(lost > 800, "the faults must have happened");

    let _workers = fleet.workers(&store).await;
    fleet.database.settled(SAMPLE_EVENTS, LIMIT).await;
    expected::assert_sample(&fleet.database.pool).await;
}

#[tokio::test]
async fn a_worker_that_is_killed_twenty_times_on_the_way_loses_and_doubles_nothing() {
    let mut rng = seeded();
    let fleet = Fleet::apart().await;
    let store = fleet.event_store().await;
    load_sample(&store).await;

    let mut kills = JoinSet::new();
    for &topic in catalogue().topics() {
        // Small batches, so that there is a way to be killed on.
        let builder = async |fleet: &Fleet, store: &Process| {
            fleet.worker_builder(topic.name, store).await.env("FLEET_MAX_OUTSTANDING", "20").env("FLEET_STREAMS", "1")
        };
        for _ in 0..20 {
            let mut worker = builder(&fleet, &store).await.start().await;
            let alive = [0, 1, 3, 10, 30, 100, 200].choose(&mut rng).copied().unwrap();
            kills.spawn(async move {
                tokio::time::sleep(Duration::from_millis(alive)).await;
                worker.kill();
            });
            while kills.join_next().await.is_some() {}
        }
    }
    let before: i64 = fleet.database.lag().await.projections.iter().map(|status| status.lag_events).sum();
    println!("after 60 kills {before} events are unsettled");
    let _workers = fleet.workers(&store).await;
    fleet.database.settled(SAMPLE_EVENTS, LIMIT).await;
    expected::assert_sample(&fleet.database.pool).await;
}

#[tokio::test]
async fn the_embedded_bus_ends_in_the_same_rows() {
    let fleet = Fleet::apart().await;
    let builder = fleet.process("event-store").await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0");
    let store = builder.env("FLEET_NO_RELAY", "true").start().await;

    let bus = Bus::Embedded(Embedded::new());
    bus.ensure(catalogue().topics()).await.unwrap();
    let stop = CancellationToken::new();
    let mut parts = JoinSet::new();
    let head = Head::default();
    let registry = Registry::new();
    let store_metrics = event_store::Metrics::register(&registry).unwrap();
    let metrics = workers::Metrics::register(&registry).unwrap();
    let pool = roles::applying_pool(&fleet.database.url, 12).unwrap();
    for &topic in catalogue().topics() {
        let relay = Relay {
            topic,
            publisher: bus.publisher(topic),
            pool: fleet.database.pool.clone(),
            head: head.clone(),
            metrics: store_metrics.clone(),
        };
        parts.spawn(relay.run(stop.clone()).map(Ok));
        let (sender, deliveries) = mpsc::channel(1000);
        let worker = TopicWorker {
            topic,
            projections: catalogue().listening_to(topic),
            pool: pool.clone(),
            head: head.clone(),
            metrics: metrics.clone(),
            event_store: &store.grpc(),
            credentials: Default::default(),
            sweep_grace: Duration::from_secs(60),
            building: pool.clone(),
            reading: fleet.database.pool.clone(),
            raised: Default::default(),
            throttled: true,
        };
        let subscription =
            bus.subscription(topic, Pull { streams: 1, max_outstanding: 1000, room: bus::Room::new(48 << 20) });
        worker.spawn(vec![subscription], sender, deliveries, &mut parts, &stop).unwrap();
    }
    load_sample(&store).await;
    fleet.database.settled(SAMPLE_EVENTS, LIMIT).await;
    expected::assert_sample(&fleet.database.pool).await;

    stop.cancel();
    while let Some(ended) = parts.join_next().await {
        ended.unwrap().unwrap();
    }
}

#[tokio::test]
async fn pushed_deliveries_end_in_the_same_rows() {
    let fleet = Fleet::apart().await;
    let store = fleet.event_store().await;
    let mut workers = Vec::new();
    let mut pushers = JoinSet::new();
    let pushed = Arc::new(AtomicUsize::new(0));
    for &topic in catalogue().topics() {
        let builder = fleet.worker_builder(topic.name, &store).await.env("FLEET_DELIVERY", "push");
        // The sweep must not do the work that is tested here.
        let builder = builder.env("FLEET_PUSH_UNAUTHENTICATED", "true").env("FLEET_SWEEP_GRACE", "3600");
        let worker = builder.start().await;
        let url = format!("http://{}/push", worker.http());
        if topic.name == "integration-events" {
            fleet.project.push_to(topic, &url).await;
        } else {
            // The emulator pushes some 40 messages per second, one after the other; the real service pushes many at once.
            let subscription = fleet
                .project
                .bus()
                .subscription(topic, Pull { streams: 4, max_outstanding: 200, room: bus::Room::new(48 << 20) });
            pushers.spawn(push_all(topic, subscription, url, None, pushed.clone()));
        }
        workers.push(worker);
    }
    load_sample(&store).await;
    fleet.database.settled(SAMPLE_EVENTS, LIMIT).await;
    expected::assert_sample(&fleet.database.pool).await;
    // What the emulator still brings again is of no interest.
    pushers.abort_all();
    let pushed = pushed.load(Ordering::Relaxed);
    println!("{pushed} messages were pushed many at once, the rest by the emulator");
    assert!(pushed > 20_000);
    let metrics = reqwest::get(format!("http://{}/metrics", workers[0].http())).await.unwrap().text().await.unwrap();
    assert!(metrics.contains(r#"push_requests_total{outcome="acked",topic="vocabulary-events"}"#), "{metrics}");
}

/// Brings the messages of a subscription to a worker as Pub/Sub's push does: in its envelope, many at once, acknowledged by
/// a 2xx and by nothing else. Counts those.
pub async fn push_all(
    topic: &'static Topic,
    subscription: Arc<dyn Subscription>,
    url: String,
    token: Option<String>,
    pushed: Arc<AtomicUsize>,
) {
    let (sender, mut deliveries) = mpsc::channel(256);
    tokio::spawn(async move { subscription.receive(sender, CancellationToken::new()).await });
    let http = reqwest::Client::new();
    let deliveries = futures::stream::poll_fn(move |context| deliveries.poll_recv(context));
    let pushes = deliveries.map(|delivery: Delivery| {
        let body = json!({
            "message": {
                "data": BASE64_STANDARD.encode(&delivery.message.data),
                "attributes": delivery.message.attributes,
                "messageId": delivery.message_id,
                "publishTime": delivery.published_at,
            },
            "subscription": format!("projects/p/subscriptions/{}", topic.subscription),
        });
        let push = http.post(&url).json(&body);
        let push = token.iter().fold(push, |push, token| push.bearer_auth(token)).send();
        async move {
            let settled = push.await.is_ok_and(|answer| answer.status().is_success());
            if settled {
                delivery.receipt.ack();
            }
            settled
        }
    });
    let settled = pushes.buffer_unordered(400);
    settled.for_each(async |settled| _ = pushed.fetch_add(settled.into(), Ordering::Relaxed)).await;
}

/// Every event of the store that the filter wants.
pub async fn all(fleet: &Fleet, filter: &Filter) -> Vec<Recorded<Payload>> {
    let head = fleet.database.head().await;
    let mut events = Vec::new();
    let mut position = Position::START;
    while position < head {
        let page = read::page(&fleet.database.pool, position, head, 5000, filter).await.unwrap();
        events.extend(page.events);
        position = page.upto;
    }
    events
}

pub fn message(event: &Recorded<Payload>) -> bus::Message {
    let (data, attributes) = wire::encode(event);
    let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    bus::Message { data: data.into(), attributes }
}

/// Publishes one message as it is.
pub async fn publish(publisher: Arc<dyn Publisher>, data: &[u8], attributes: &[(&str, &str)]) {
    let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let message = bus::Message { data: data.to_vec().into(), attributes };
    eventually("the message is published", Duration::from_secs(20), async || {
        publisher.publish(vec![message.clone()]).await.map_err(|error| error.to_string())
    })
    .await;
}
