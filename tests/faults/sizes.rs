//! What comes at once, in bytes: a worker and an event store of 512 MiB get through whatever is legal.
//!
//! ```sh
//! FLEET_FULL_SIZE=1 cargo test -p projections --test fleet -- sizes --nocapture
//! ```

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bus::{Chaos, Delivery, Embedded, Message, Publisher, Room, Spec, Subscription};
use event_store::proto::ReadAggregateRequest;
use event_store::read::Filter;
use events::{Payload, Recorded};
use projections::topics::INTEGRATION;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::harness::client::{append, connect, email_updated, signed_up};
use crate::harness::{Broker, Fleet, Process, eventually, full_size};
use crate::oracle;
use crate::sample::{all, message};

/// Terraform's default for an instance.
const MEMORY: u64 = 512 << 20;

const LIMIT: Duration = Duration::from_secs(600);

/// A memory cgroup, where the machine lets a test make one. Removed when dropped.
struct Limited(PathBuf);

impl Limited {
    /// Puts a process where it has no more than [`MEMORY`]. `None`, and a loud word, if that cannot be had here.
    fn to_memory(process: &Process) -> Option<Self> {
        let name = format!("fleet-test-{}", process.id());
        for (root, limit) in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")] {
            let group = Self(PathBuf::from(root).join(&name));
            let limited = fs::create_dir(&group.0)
                .and_then(|()| fs::write(group.0.join(limit), MEMORY.to_string()))
                .and_then(|()| fs::write(group.0.join("cgroup.procs"), process.id().to_string()));
            if limited.is_ok() {
                return Some(group);
            }
        }
        eprintln!("NOT LIMITED: this machine lets nobody make a memory cgroup; the peak is measured instead");
        None
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // Its process has to be gone for that.
        for _ in 0..50 {
            if fs::remove_dir(&self.0).is_ok() || !self.0.exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Every user is applied up to the last version of the store.
async fn applied(fleet: &Fleet, worker: &Process, what: &str) {
    let behind = "select count(*) from events as event
         cross join unnest(array['user_directory', 'learning_time']) as listening (projection)
         left join projected_aggregates as known
             on known.projection = listening.projection and known.aggregate_id = event.aggregate_id
         where event.event_version > coalesce(known.version, 0)";
    let started = Instant::now();
    eventually(what, LIMIT, async || match fleet.database.count(behind).await {
        0 => Ok(()),
        behind => Err(format!("{behind} behind, {} kB: {:?}", worker.peak_kilobytes(), worker.logged().last())),
    })
    .await;
    println!("{what}: {:.1} s, peak {} kB", started.elapsed().as_secs_f64(), worker.peak_kilobytes());
}

/// As there is room for it in the bus.
async fn publish(broker: &Broker, events: impl IntoIterator<Item = &Recorded<Payload>>) {
    let publisher = broker.bus.publisher(INTEGRATION.name);
    for event in events {
        let published =
            || async { publisher.publish(vec![message(event)]).await.map_err(|error| error.source.to_string()) };
        eventually("the bus takes it", LIMIT, published).await;
    }
}

/// A user whose first event is so large; what makes it so is nothing that a projection reads.
fn large(user: Uuid, bytes: usize) -> event_store::proto::NewEvent {
    let mut event = signed_up(user);
    event.event_data.truncate(event.event_data.len() - 1);
    event.event_data += &format!(r#","padding":"{}"}}"#, "x".repeat(bytes));
    event
}

#[tokio::test]
async fn a_worker_of_512_mib_gets_through_large_events_and_long_histories() {
    let (larges, middles, aggregates, versions) = if full_size() { (100, 3000, 400, 2000) } else { (12, 100, 20, 300) };
    let broker = Broker::start(Chaos::new(1)).await;
    let fleet = Fleet::on(&broker).await;
    let builder = fleet.process("event-store").await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0");
    let store = builder.env("FLEET_NO_RELAY", "true").start().await;
    let _store_limit = Limited::to_memory(&store);
    let mut client = connect(&store).await.max_decoding_message_size(64 << 20);

    // A backlog that waits when the worker starts.
    let mut published = Default::default();
    let backlog = async |published: &mut events::Position| {
        let head = fleet.database.head().await;
        while *published < head {
            let page = event_store::read::page(&fleet.database.pool, *published, head, 5000, &Filter::default()).await;
            let page = page.unwrap();
            publish(&broker, &page.events).await;
            *published = page.upto;
        }
    };
    for _ in 0..larges {
        let user = Uuid::now_v7();
        client.append_events(append("User", user, vec![large(user, 4_000_000)])).await.unwrap();
    }
    let worker = fleet.worker_builder(INTEGRATION.name, &store).await.env("FLEET_SWEEP_GRACE", "3600");
    // The bus is full before it listens, and takes the rest as that is settled.
    let ((), worker) = tokio::join!(backlog(&mut published), worker.start());
    let limited = Limited::to_memory(&worker).is_some();
    let _limit = Limited(PathBuf::from("/sys/fs/cgroup/memory").join(format!("fleet-test-{}", worker.id())));
    applied(&fleet, &worker, &format!("{larges} events of 4 MB")).await;

    for _ in 0..middles {
        let user = Uuid::now_v7();
        client.append_events(append("User", user, vec![large(user, 200_000)])).await.unwrap();
    }
    backlog(&mut published).await;
    applied(&fleet, &worker, &format!("{middles} events of 200 kB")).await;

    // Only the last message of each aggregate comes: the rest is healed.
    for _ in 0..aggregates {
        let user = Uuid::now_v7();
        let mut events = vec![signed_up(user)];
        events.extend((1..versions).map(|version| email_updated(user, &format!("{version}@example.org"))));
        for events in events.chunks(1000) {
            client.append_events(append("User", user, events.to_vec())).await.unwrap();
        }
    }
    let new = all(&fleet, &Filter::default()).await;
    publish(&broker, new.iter().filter(|event| event.version.0 == versions)).await;
    drop(new);
    applied(&fleet, &worker, &format!("{aggregates} aggregates of {versions} events")).await;

    println!(
        "worker: limited {limited}, peak {} kB; store: peak {} kB",
        worker.peak_kilobytes(),
        store.peak_kilobytes()
    );
    for process in [&worker, &store] {
        assert!(process.peak_kilobytes() << 10 < MEMORY, "{} kB", process.peak_kilobytes());
    }
    oracle::assert_equal(&fleet.database.pool).await;

    // One aggregate whose history does not fit into an answer, read by somebody who takes it all.
    let user = Uuid::now_v7();
    for _ in 0..larges {
        client.append_events(append("User", user, vec![large(user, 4_000_000)])).await.unwrap();
    }
    let before = store.peak_kilobytes();
    let request = ReadAggregateRequest { aggregate_id: user.to_string(), ..Default::default() };
    let mut events = client.read_aggregate(request).await.unwrap().into_inner();
    let mut read = 0;
    while events.message().await.unwrap().is_some() {
        read += 1;
    }
    assert_eq!(read, larges);
    println!("read_aggregate of {larges} events of 4 MB: peak {before} kB before, {} kB after", store.peak_kilobytes());
    assert!(store.peak_kilobytes() << 10 < MEMORY, "{} kB", store.peak_kilobytes());
}

/// Receives until nothing comes any more, and keeps what came.
async fn kept(deliveries: &mut mpsc::Receiver<Delivery>, expected: usize) -> Vec<Delivery> {
    let mut kept = Vec::new();
    while let Ok(Some(delivery)) = tokio::time::timeout(Duration::from_secs(2), deliveries.recv()).await {
        kept.push(delivery);
        assert!(kept.len() <= expected, "more than {expected} messages in hand");
    }
    kept
}

#[tokio::test]
async fn no_more_bytes_are_in_hand_than_there_is_room_for_on_either_bus() {
    const MESSAGES: usize = 20;
    let broker = Broker::start(Chaos::new(1)).await;
    let fleet = Fleet::on(&broker).await;
    let embedded = Embedded::new();
    embedded.ensure_topic(INTEGRATION.name);
    embedded.ensure_subscription(Spec::new(INTEGRATION.subscription, INTEGRATION.name)).unwrap();
    let room = || Room::new(1_000_000);
    let pulls: [(&Embedded, Box<dyn Subscription>, usize); 2] = [
        (&embedded, Box::new(embedded.subscription(INTEGRATION.subscription).within(room())), 1),
        (&broker.bus, Box::new(fleet.project.google.subscription(INTEGRATION.subscription, 2, 1000).within(room())), 2),
    ];
    for (bus, subscription, streams) in pulls {
        let messages = vec![Message { data: vec![b'x'; 400_000].into(), attributes: Default::default() }; MESSAGES];
        bus.publisher(INTEGRATION.name).publish(messages).await.unwrap();
        let (sender, mut deliveries) = mpsc::channel(MESSAGES);
        let stop = CancellationToken::new();
        let receiving = tokio::spawn({
            let stop = stop.clone();
            async move { subscription.receive(sender, stop).await }
        });
        let mut settled = 0;
        // Each pull may exceed the room by one message.
        while settled < MESSAGES {
            let kept = kept(&mut deliveries, 2 + streams).await;
            assert!(!kept.is_empty(), "{settled} of {MESSAGES}");
            settled += kept.len();
            kept.into_iter().for_each(|delivery| delivery.receipt.ack());
        }
        stop.cancel();
        receiving.await.unwrap().unwrap();
    }
}
