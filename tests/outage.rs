//! Under load: Postgres is away, and then everything is there at once.
//!
//! ```sh
//! FLEET_OUTAGE=60 cargo test -p projections --test fleet -- outage --nocapture
//! FLEET_BACKLOG=1000000 cargo test --release -p projections --test fleet -- backlog --nocapture
//! ```

use std::time::{Duration, Instant};

use bus::{Chaos, Publisher, Spec, Subscription};
use events::Topic;
use projections::topics::INTEGRATION;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::harness::client::{append, connect, email_updated, signed_up};
use crate::harness::proxy::{Proxy, Weather};
use crate::harness::{Broker, Fleet, eventually};
use crate::histories::History;
use crate::oracle;
use crate::sample::{all, message, seeded};
use crate::soak::number;
use rand::Rng;
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(240);

/// The settings of Terraform, with the fewest attempts that Pub/Sub allows instead of many.
fn strict(topic: &Topic) -> Spec {
    Spec {
        ack_deadline_seconds: Topic::ACK_DEADLINE_SECONDS,
        min_backoff: Duration::from_secs(Topic::MINIMUM_BACKOFF_SECONDS.into()),
        max_backoff: Duration::from_secs(Topic::MAXIMUM_BACKOFF_SECONDS.into()),
        dead_letter_topic: Some(topic.dead_letter()),
        max_delivery_attempts: 5,
        ..Spec::new(topic.subscription, topic.name)
    }
}

#[tokio::test]
async fn while_postgres_is_away_no_message_is_given_up_and_the_lag_recovers_alone() {
    let away = Duration::from_secs(number("FLEET_OUTAGE", 6) as u64);
    let fleet = Fleet::apart().await;
    let google = &fleet.project.google;
    google.delete_subscription(INTEGRATION.subscription).await.unwrap();
    google.ensure_subscription(strict(&INTEGRATION)).await.unwrap();
    let store = fleet.event_store().await;
    let proxy = Proxy::before(&fleet.database.url).await;
    let builder = fleet.worker_builder(INTEGRATION.name, &store).await.env("DATABASE_URL", &proxy.url);
    // The sweep must not hide what the bus does.
    let worker = builder.env("FLEET_SWEEP_GRACE", "3600").env("FLEET_MAX_OUTSTANDING", "50").start().await;

    let mut client = connect(&store).await;
    let mut appended = 0;
    let began = Instant::now();
    let mut load = async |seconds: Duration| {
        let until = Instant::now() + seconds;
        while Instant::now() < until {
            let user = Uuid::now_v7();
            let events = vec![signed_up(user), email_updated(user, "new@example.org")];
            client.append_events(append("User", user, events)).await.unwrap();
            appended += 2;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    load(Duration::from_secs(2)).await;
    proxy.set(Weather::Down);
    load(away).await;
    // Each of the topic's projections writes in a transaction of its own, so that one may be through before the other.
    let unsettled = "select count(*) from events as event
        cross join unnest(array['user_directory', 'learning_time']) as listening (projection)
        where not exists (
            select from projected_aggregates as known
            where known.projection = listening.projection
            and known.aggregate_id = event.aggregate_id
            and known.version >= event.event_version)";
    let behind = fleet.database.count(unsettled).await;
    proxy.set(Weather::Fair);
    let back = Instant::now();
    load(Duration::from_secs(1)).await;
    assert!(behind > 50, "the outage was felt: {behind}");
    assert!(proxy.cuts() > 3, "{}", proxy.cuts());
    eventually("the lag is gone", LIMIT, async || {
        let behind = fleet.database.count(unsettled).await;
        if behind == 0 { Ok(()) } else { Err(format!("{behind} behind: {:?}", worker.logged().last())) }
    })
    .await;
    println!(
        "{behind} events behind after {away:?} away, all applied {:?} after the return; {:?} in all",
        back.elapsed(),
        began.elapsed()
    );
    assert_eq!(fleet.database.count("select count(*) from events").await, appended);
    oracle::assert_equal(&fleet.database.pool).await;

    let (sender, mut dead_letters) = mpsc::channel(10);
    let subscription = google.subscription(&INTEGRATION.dead_letter(), 1, 10);
    let stop = CancellationToken::new();
    let listening = tokio::spawn({
        let stop = stop.clone();
        async move { subscription.receive(sender, stop).await }
    });
    let dead = tokio::time::timeout(Duration::from_secs(2), dead_letters.recv()).await;
    assert!(dead.is_err(), "the broker gave up on {dead:?}");
    stop.cancel();
    drop(dead_letters);
    listening.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_worker_keeps_its_size_through_a_backlog() {
    const COPIES: usize = 5;
    let backlog = number("FLEET_BACKLOG", 20_000);
    let seed = seeded().random();
    let broker = Broker::start(Chaos { shuffle: 500, ..Chaos::new(seed) }).await;
    let fleet = Fleet::on(&broker).await;
    let builder = fleet.process("event-store").await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0");
    let store = builder.env("FLEET_NO_RELAY", "true").start().await;
    // Of one topic's messages each event comes several times: what makes a worker grow is deliveries.
    History::of(seed, backlog / COPIES).load(&store).await;
    let topic = &projections::topics::PROGRESS;
    let events = all(&fleet, &event_store::read::Filter::aggregate_types(topic.aggregate_types)).await;
    let builder = fleet.worker_builder(topic.name, &store).await.env("FLEET_SWEEP_GRACE", "3600");
    let worker = builder.start().await;

    let publisher = broker.bus.publisher(topic.name);
    let publishing = tokio::spawn({
        let messages: Vec<_> = events.iter().map(message).collect();
        async move {
            let mut published = 0;
            let mut endless = messages.iter().cycle();
            while published < backlog {
                let page: Vec<_> = endless.by_ref().take(1000.min(backlog - published)).cloned().collect();
                published += page.len();
                publisher.publish(page).await.unwrap();
            }
            published
        }
    });
    let mut sizes = Vec::new();
    let settled = async || worker.counter("projection_events_total").await;
    let started = Instant::now();
    // Both projections of the topic count each delivery that is not folded into another of its batch.
    let mut last = (0, Instant::now());
    while last.1.elapsed() < Duration::from_secs(2) {
        let done = settled().await;
        if done != last.0 {
            last = (done, Instant::now());
            sizes.push(worker.resident_kilobytes());
            println!("{:>6.1} s {done:>9} counted {:>8} kB", started.elapsed().as_secs_f64(), sizes[sizes.len() - 1]);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert_eq!(publishing.await.unwrap(), backlog);
    assert!(last.0 as usize > events.len(), "{} events went through", last.0);
    // Warm after the first quarter: batches, buffers and the allocator have their size.
    let warm = sizes[..sizes.len().div_ceil(4)].iter().max().unwrap();
    let most = sizes.iter().max().unwrap();
    println!("{backlog} messages: warm {warm} kB, at most {most} kB");
    assert!(*most < warm + warm / 2 + 20_000, "it grew from {warm} kB to {most} kB");
}
