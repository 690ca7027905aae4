//! Everything goes wrong at once, for as long as is wanted.
//!
//! ```sh
//! FLEET_SOAK_EVENTS=200000 FLEET_SOAK_SEEDS=10 cargo test --release -p projections --test fleet -- soak --nocapture
//! ```

mod bombs;
mod servers;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::time::{Duration, Instant};

use bus::Chaos;
use fleet::client;
use fleet::commands::import::{self, Summary};
use indicatif::ProgressBar;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use read_model::AnyProjection;
use uuid::Uuid;
use workers::audit::Attribution;
use workers::generations::gate::Way;
use workers::pause::{self, NewPause};

use crate::generations;
use crate::harness::database;
use crate::harness::parts::consistent;
use crate::harness::{Broker, Database, Fleet, Process, Project, catalogue, eventually};
use crate::histories::History;
use crate::oracle;
use crate::sample::seeded;

use bombs::Bombs;
use servers::Servers;

/// Everything is slow when all cores are busy with other tests.
const LIMIT: Duration = Duration::from_secs(120);

pub fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[derive(Debug, Clone, Copy)]
enum Harm {
    KillWorker,
    KillStore,
    RestartPostgres,
    ChangeRoles,
    /// The bus takes longer over each page, at times longer than a relay's lease lasts.
    SlowBus,
    FastBus,
    AppendBomb,
    PublishBomb,
    PlantBomb,
    /// A new generation is asked for, beside the live one.
    Rebuild,
    Promote,
    Rollback,
    /// For some seconds.
    Pause,
}

impl Harm {
    /// So often each is done at least, or what holds then is not worth saying. A bomb that is in the store costs every reader
    /// what it prints as: these few are as good as many.
    const LEAST: [(Self, usize); 13] = [
        (Self::KillWorker, 6),
        (Self::KillStore, 3),
        (Self::RestartPostgres, 2),
        (Self::ChangeRoles, 2),
        (Self::SlowBus, 2),
        (Self::FastBus, 2),
        (Self::AppendBomb, 3),
        (Self::PublishBomb, 3),
        (Self::PlantBomb, 3),
        (Self::Rebuild, 4),
        (Self::Promote, 4),
        (Self::Rollback, 2),
        (Self::Pause, 2),
    ];

    /// What is done from then on, as long as there is work.
    const MORE: [Self; 16] = [
        Self::KillWorker,
        Self::KillWorker,
        Self::KillWorker,
        Self::KillWorker,
        Self::KillStore,
        Self::RestartPostgres,
        Self::ChangeRoles,
        Self::SlowBus,
        Self::FastBus,
        Self::FastBus,
        Self::AppendBomb,
        Self::PublishBomb,
        Self::Rebuild,
        Self::Promote,
        Self::Rollback,
        Self::Pause,
    ];

    fn least(rng: &mut StdRng) -> Vec<Self> {
        let mut least: Vec<_> = Self::LEAST.iter().flat_map(|(harm, times)| vec![*harm; *times]).collect();
        least.shuffle(rng);
        least
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_the_fleet_ends_in_what_its_store_folds_to() {
    let mut rng = seeded();
    let events = number("FLEET_SOAK_EVENTS", 4_000);
    for round in 0..number("FLEET_SOAK_SEEDS", 1) {
        let seed = rng.random();
        let started = Instant::now();
        let faults = soak(seed, events).await;
        println!("round {round}, seed {seed}: {events} events in {:?}, {faults}", started.elapsed());
    }
}

/// A fleet, and what harms it.
struct Soak {
    rng: StdRng,
    servers: Servers,
    broker: Broker,
    fleet: Fleet,
    /// Two, of which one at a time has the relay's lease.
    stores: [Process; 2],
    workers: Vec<Process>,
    bombs: Bombs,
    /// What is rebuilt and paused. One alone, because what is kept beside the live ones is work as well.
    rebuilt: &'static dyn AnyProjection,
}

impl Soak {
    async fn start(seed: u64) -> Self {
        let servers = Servers::start().await;
        let mut database = Database::existing(servers.url());
        database::migrate(&database.pool, servers.url()).await;
        database.granted = true;
        let chaos = Chaos { duplicate: 9, shuffle: 5_000, lose: 0.05, lose_acks: 0.05, ..Chaos::new(seed) };
        let broker = Broker::start(chaos).await;
        let fleet = Fleet { database, project: Project::of(&broker) };
        let stores = [fleet.event_store().await, fleet.event_store().await];
        let workers = fleet.workers(&stores[0]).await;
        let mut rng = StdRng::seed_from_u64(seed);
        let rebuilt = *catalogue().projections().choose(&mut rng).unwrap();
        Self { rng, servers, broker, fleet, stores, workers, bombs: Bombs::default(), rebuilt }
    }

    async fn harm(&mut self, harm: Harm) {
        match harm {
            Harm::KillWorker => {
                let which = self.rng.random_range(0..self.workers.len());
                self.workers[which].kill();
                self.workers[which] = self.fleet.worker(catalogue().topics()[which].name, &self.stores[0]).await;
            }
            Harm::KillStore => {
                let which = self.rng.random_range(0..self.stores.len());
                let address = self.stores[which].grpc();
                self.stores[which].kill();
                self.stores[which] = self.fleet.event_store_at(&address).await;
            }
            Harm::RestartPostgres => self.servers.restart(),
            Harm::ChangeRoles => self.servers.change_roles(&mut self.rng).await,
            Harm::SlowBus => {
                *self.broker.pause.lock().unwrap() = Duration::from_millis(self.rng.random_range(100..15_000));
            }
            Harm::FastBus => *self.broker.pause.lock().unwrap() = Duration::ZERO,
            Harm::AppendBomb => self.bombs.append(&self.stores[0]).await,
            Harm::PublishBomb => self.bombs.publish(&self.broker).await,
            Harm::PlantBomb => self.bombs.plant(&self.servers.pool()).await,
            Harm::Rebuild => {
                let parts = self.rng.random_range(1..=3);
                let asked = generations::ask_to_rebuild(&self.servers.pool(), self.rebuilt.name(), parts).await;
                generations::unless_refused(asked);
            }
            Harm::Promote => self.exchange(Way::Promote).await,
            Harm::Rollback => self.exchange(Way::Rollback).await,
            Harm::Pause => {
                let by = Attribution { actor: "ada".to_owned(), reason: "to see what waits".to_owned() };
                let seconds = Some(self.rng.random_range(1..10));
                let new = NewPause { seconds, replace: true, by, idempotency_key: None };
                match pause::pause(&self.servers.pool(), self.rebuilt, &new).await {
                    Ok(_) | Err(pause::Refused::Busy(_)) => {}
                    Err(refused) => panic!("{refused}"),
                }
            }
        }
    }

    async fn exchange(&self, way: Way) {
        let asked = generations::ask_to_exchange(&self.servers.pool(), self.rebuilt.name(), way).await;
        generations::unless_refused(asked);
    }
}

/// In what is live: a generation that is built anew parks what the store has, and not what only the bus had.
const PARKED: &str = "select count(*) from parked_events as parked left join projections on name = projection
    where parked.generation is not distinct from projections.generation";
const PARKED_FOREIGN: &str = "select count(*) from parked_events as parked left join projections on name = projection
    where parked.generation is not distinct from projections.generation
    and error like '%event_data: the number at more[0]%'";

async fn soak(seed: u64, events: usize) -> String {
    let began = Instant::now();
    let mut phases = Vec::new();
    let mut phase = |name: &str| phases.push(format!("{name} at {:.0} s", began.elapsed().as_secs_f64()));
    let mut soak = Soak::start(seed).await;
    let mut history = History::of(seed, events).poison(seed, 0.01).enlarge(seed, 5 + events / 2_000);
    for line in &mut history.lines {
        // The writer asks again after every kill.
        line.idempotency_key.get_or_insert_with(|| Uuid::from_u128(soak.rng.random()).to_string());
    }
    let wanted =
        Summary { requests: history.lines.len() as u64, events: events as u64, known: 0, refused: 0, existing: 0 };
    let (at, file) = (client::EventStore::at(&soak.stores[0].grpc()), history.ndjson());
    let importing = tokio::spawn(async move { import::import(&at, Cursor::new(file), &ProgressBar::hidden()).await });

    let mut least = Harm::least(&mut soak.rng);
    let mut did = BTreeMap::<String, usize>::new();
    while !importing.is_finished() || !least.is_empty() {
        tokio::time::sleep(Duration::from_millis(soak.rng.random_range(50..700))).await;
        let harm = least.pop().or_else(|| Harm::MORE.choose(&mut soak.rng).copied()).unwrap();
        soak.harm(harm).await;
        *did.entry(format!("{harm:?}")).or_default() += 1;
    }
    let summary = importing.await.unwrap().unwrap();
    // What was on its way at a kill was sent again.
    assert_eq!(Summary { known: 0, ..summary }, wanted, "every append was answered, and none refused");
    phase("appended");
    // Faults have ended; what is left must heal without help.
    *soak.broker.pause.lock().unwrap() = Duration::ZERO;
    let Soak { servers, broker, bombs, .. } = &soak;
    let database = Database { url: servers.url().to_owned(), pool: servers.pool(), granted: false };
    let limit = Duration::from_secs(120 + events as u64 / 100);
    let planted = bombs.planted.len() as i64;
    database.settled(events as i64 + planted * Bombs::PLANTED, limit).await;
    phase("settled");

    let mut held = history.held();
    bombs.hold(&mut held);
    oracle::assert_equal_but(&database.pool, &held).await;
    consistent(&database.pool).await;
    let arrived = database.count(PARKED_FOREIGN).await;
    assert!(arrived <= bombs.foreign.into(), "each is parked once");
    let poisoned: usize = history.poisoned.iter().map(|poisoned| poisoned.projections.len()).sum();
    let parked = database.count(PARKED).await;
    assert_eq!(parked, poisoned as i64 + planted + arrived, "what cannot be applied is parked, and nothing else");
    assert_eq!(broker.dead_letters().await, 0);
    // The sweep may have been faster than all the copies; they must change nothing either.
    let bus = &broker.chaos.faults;
    eventually("the bus has done its worst", limit, async || {
        let enough = bus.lost() * 100 > events as u64
            && bus.duplicated() > 5 * events as u64
            && bus.shuffled() > events as u64
            && bus.acks_lost() > 0;
        if enough { Ok(()) } else { Err(format!("{bus:?}")) }
    })
    .await;
    phase("brought by the bus");
    let check = async || {
        oracle::assert_equal_but(&database.pool, &held).await;
        consistent(&database.pool).await;
    };
    check().await;
    let exchanged = generations::finished(&database.pool, limit, check).await;
    assert!(exchanged > 0, "{} was not rebuilt", soak.rebuilt.name());
    phase("exchanged");
    let exchanges = "select count(*) from operations where state = 'succeeded' and kind in ('promote', 'rollback')";
    let exchanges = database.count(exchanges).await;
    format!(
        "{}; {did:?}; {} had {exchanges} exchanges; {arrived} bombs came by the bus, which lost {}, doubled {}, shuffled {}, and lost {} acks",
        phases.join(", "),
        soak.rebuilt.name(),
        bus.lost(),
        bus.duplicated(),
        bus.shuffled(),
        bus.acks_lost(),
    )
}
