//! Everything goes wrong at once, for as long as is wanted.
//!
//! ```sh
//! FLEET_SOAK_EVENTS=200000 FLEET_SOAK_SEEDS=10 cargo test --release -p fleet --test fleet -- soak --nocapture
//! ```

use std::io::Cursor;
use std::time::{Duration, Instant};

use bus::Chaos;
use fleet::commands::import::{self, Summary};
use fleet::{client, roles};
use indicatif::ProgressBar;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use crate::harness::cluster::Cluster;
use crate::harness::parts::consistent;
use crate::harness::{Broker, Database, Fleet, Project, eventually};
use crate::histories::History;
use crate::oracle;
use crate::sample::seeded;

pub fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// What has been done to the fleet.
#[derive(Debug, Default)]
struct Faults {
    workers_killed: u32,
    stores_killed: u32,
    restarts: u32,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_restarted_lossy_and_tenfold_the_fleet_ends_in_what_its_store_folds_to() {
    let mut rng = seeded();
    let events = number("FLEET_SOAK_EVENTS", 4_000);
    for round in 0..number("FLEET_SOAK_SEEDS", 1) {
        let seed = rng.random();
        let started = Instant::now();
        let faults = soak(seed, events).await;
        println!("round {round}, seed {seed}: {events} events in {:?}, {faults}", started.elapsed());
    }
}

async fn soak(seed: u64, events: usize) -> String {
    let mut rng = StdRng::seed_from_u64(seed);
    let cluster = Cluster::start();
    let database = Database::existing(&cluster.url);
    roles::migrate::migrate(&database.pool).await.unwrap();
    let chaos = Chaos { duplicate: 9, shuffle: 5_000, lose: 0.05, lose_acks: 0.05, ..Chaos::new(seed) };
    let broker = Broker::start(chaos).await;
    let fleet = Fleet { database, project: Project::of(&broker) };

    let mut history = History::of(seed, events).poison(seed, 0.01);
    for line in &mut history.lines {
        // The writer asks again after every kill.
        line.idempotency_key.get_or_insert_with(|| Uuid::from_u128(rng.random()).to_string());
    }
    let mut store = fleet.event_store().await;
    let address = store.grpc();
    let mut workers = fleet.workers(&store).await;

    let wanted = Summary { requests: history.lines.len() as u64, events: events as u64, refused: 0 };
    let (at, file) = (client::EventStore::at(&address), history.ndjson());
    let importing = tokio::spawn(async move { import::import(&at, Cursor::new(file), &ProgressBar::hidden()).await });

    let mut faults = Faults::default();
    // At least so many of each, and for as long as there is work.
    while !importing.is_finished() || faults.stores_killed < 3 || faults.workers_killed < 6 || faults.restarts < 2 {
        tokio::time::sleep(Duration::from_millis(rng.random_range(50..700))).await;
        match rng.random_range(0..6) {
            0 => {
                store.kill();
                store = fleet.event_store_at(&address).await;
                faults.stores_killed += 1;
            }
            1 => {
                tokio::task::block_in_place(|| cluster.restart_immediately());
                faults.restarts += 1;
            }
            _ => {
                let which = rng.random_range(0..workers.len());
                workers[which].kill();
                workers[which] = fleet.worker(::events::TOPICS[which].name, &store).await;
                faults.workers_killed += 1;
            }
        }
    }
    let summary = importing.await.unwrap().unwrap();
    assert_eq!(summary, wanted, "every append was answered, and none refused");
    // Faults have ended; what is left must heal without help.
    let limit = Duration::from_secs(60 + events as u64 / 100);
    fleet.database.settled(events as i64, limit).await;

    oracle::assert_equal_but(&fleet.database.pool, &history.held()).await;
    consistent(&fleet.database.pool).await;
    let parked: usize = history.poisoned.iter().map(|poisoned| poisoned.projections.len()).sum();
    assert_eq!(fleet.database.count("select count(*) from parked_events").await, parked as i64);
    assert_eq!(broker.dead_letters().await, 0);
    // The sweep may have been faster than all the copies; they must change nothing either.
    let did = &broker.chaos.faults;
    eventually("the bus has done its worst", limit, async || {
        let enough = did.lost() * 100 > events as u64
            && did.duplicated() > 5 * events as u64
            && did.shuffled() > events as u64
            && did.acks_lost() > 0;
        if enough { Ok(()) } else { Err(format!("{did:?}")) }
    })
    .await;
    oracle::assert_equal_but(&fleet.database.pool, &history.held()).await;
    format!(
        "{faults:?}; the bus lost {}, doubled {}, shuffled {}, and lost {} acks",
        did.lost(),
        did.duplicated(),
        did.shuffled(),
        did.acks_lost()
    )
}
