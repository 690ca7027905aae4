//! Random histories, operations and faults, in every order that chance finds; what fails is made as short as it gets.
//!
//! The model is what the store folds to, up to the versions that the ledger calls applied: it must hold after each step,
//! whatever has just ended in the middle, and readers never see fewer events than before.
//!
//! ```sh
//! FLEET_MODEL_CASES=1000 cargo test -p projections --test fleet -- model --nocapture
//! ```

use std::time::Duration;

use events::Position;
use kill_points::kill_at;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngCore, SeedableRng};
use read_model::AnyProjection;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use workers::apply::Mode;
use workers::audit::Attribution;
use workers::dead_letters::{self, Filter, MAX_PLANNED, Retry};
use workers::generations::Generations;
use workers::generations::gate::Way;
use workers::pause::{self, NewPause};
use workers::redrive::Redrive;
use workers::replay::{self, NewReplay, Replays, Selection};
use workers::sweep::Sweep;
use workers::verdict::Event;

use crate::generations;
use crate::harness::catalogue;
use crate::harness::parts::{Applied, LIMIT, Parts, apply, consistent};
use crate::histories::History;
use crate::plans::{Pool, assert_explained_as};
use crate::sample::seeded;
use crate::soak::number;

/// How long a run of the sweep or of a replay may last that would go on for ever.
const A_WHILE: Duration = Duration::from_millis(150);

#[derive(Debug, Clone)]
enum Step {
    /// The next requests of the history.
    Append(usize),
    /// What is new in the store comes to the bus.
    Relay,
    /// A message in the bus, by its place, comes so many more times.
    Duplicate(usize, usize),
    Reorder(u64),
    Drop(usize),
    /// Acknowledged messages come again: their deadline had passed.
    Expire(usize),
    Deliver(usize),
    /// Two workers have the same batch at once.
    DeliverTwice(usize),
    /// The worker ends at a point.
    DeliverAndDie(usize, &'static str, u32),
    Sweep,
    SweepAndDie(&'static str),
    Replay,
    ReplayAndDie(&'static str),
    /// Everything that is parked is tried again. Nothing was fixed, so that it is parked again.
    Retry,
    RetryAndDie(&'static str),
    /// A projection, by its number, is to be built anew, in so many parts.
    Rebuild(usize, i32),
    /// Another generation of it is to be the live one, if there is one that may.
    Exchange(usize, Way),
    /// Generations are built, followed and exchanged, as far as that gets.
    Keep,
    KeepAndDie(&'static str),
    /// Nothing is written to it from then on, whoever comes.
    Pause(usize),
    Resume(usize),
}

const APPLY: [&str; 6] =
    ["apply.fenced", "apply.locked", "apply.healed", "apply.written", "apply.recorded", "apply.committed"];
const PARK: [&str; 1] = ["park.inserted"];
const SWEEP: [&str; 3] = ["sweep.looked", "sweep.settled", "sweep.applied"];
const REPLAY: [&str; 4] = ["replay.claimed", "replay.applied", "replay.noted", "replay.succeeded"];
const REDRIVE: [&str; 5] =
    ["redrive.outdated", "redrive.read", "redrive.settled", "redrive.recorded", "redrive.committed"];

fn step() -> impl Strategy<Value = Step> {
    let point = |points: Vec<&'static str>| proptest::sample::select(points);
    let delivering = [APPLY.as_slice(), &PARK].concat();
    let sweeping = [SWEEP.as_slice(), &APPLY, &PARK].concat();
    let replaying = [REPLAY.as_slice(), &APPLY].concat();
    let keeping = [generations::STEPS.as_slice(), &generations::EXCHANGE, &generations::EXCHANGE].concat();
    let way = proptest::sample::select(vec![Way::Promote, Way::Promote, Way::Rollback]);
    prop_oneof![
        4 => (1..25_usize).prop_map(Step::Append),
        4 => Just(Step::Relay),
        2 => (0..50_usize, 1..10_usize).prop_map(|(place, copies)| Step::Duplicate(place, copies)),
        2 => any::<u64>().prop_map(Step::Reorder),
        2 => (0..50_usize).prop_map(Step::Drop),
        1 => (1..30_usize).prop_map(Step::Expire),
        4 => (1..40_usize).prop_map(Step::Deliver),
        1 => (1..40_usize).prop_map(Step::DeliverTwice),
        3 => (1..40_usize, point(delivering), 1..4_u32).prop_map(|(count, at, pass)| Step::DeliverAndDie(count, at, pass)),
        1 => Just(Step::Sweep),
        1 => point(sweeping).prop_map(Step::SweepAndDie),
        1 => Just(Step::Replay),
        1 => point(replaying).prop_map(Step::ReplayAndDie),
        1 => Just(Step::Retry),
        2 => point(REDRIVE.to_vec()).prop_map(Step::RetryAndDie),
        2 => (0..PROJECTIONS, 1..3_i32).prop_map(|(which, parts)| Step::Rebuild(which, parts)),
        2 => (0..PROJECTIONS, way).prop_map(|(which, way)| Step::Exchange(which, way)),
        2 => Just(Step::Keep),
        2 => point(keeping).prop_map(Step::KeepAndDie),
        1 => (0..PROJECTIONS).prop_map(Step::Pause),
        1 => (0..PROJECTIONS).prop_map(Step::Resume),
    ]
}

/// Of the sample. A projection is chosen by its number.
const PROJECTIONS: usize = 5;

fn projection(which: usize) -> &'static dyn AnyProjection {
    catalogue().projections()[which]
}

fn name(which: usize) -> &'static str {
    projection(which).name()
}

struct World {
    parts: Parts,
    history: History,
    appended: usize,
    relayed: Position,
    bus: Vec<Event>,
    acked: Vec<Event>,
    deaths: u32,
}

impl World {
    async fn take(&mut self, step: &Step) {
        match step {
            Step::Append(count) => {
                let upto = (self.appended + count).min(self.history.lines.len());
                self.parts.load(&self.history.lines[self.appended..upto]).await;
                self.appended = upto;
            }
            Step::Relay => {
                self.bus.extend(self.parts.events(self.relayed).await);
                self.relayed = self.parts.database.head().await;
            }
            Step::Duplicate(place, copies) => {
                if let Some(event) = self.bus.get(*place).cloned() {
                    self.bus.extend(std::iter::repeat_n(event, *copies));
                }
            }
            Step::Reorder(seed) => self.bus.shuffle(&mut StdRng::seed_from_u64(*seed)),
            Step::Drop(place) => {
                if *place < self.bus.len() {
                    self.bus.remove(*place);
                }
            }
            Step::Expire(count) => {
                let from = self.acked.len().saturating_sub(*count);
                self.bus.extend(self.acked.drain(from..));
            }
            Step::Deliver(count) => {
                let batch = self.batch(*count);
                let taken = self.deliver(&batch).await;
                self.answer(batch, taken);
            }
            Step::DeliverTwice(count) => {
                let batch = self.batch(*count);
                let (one, other) = tokio::join!(self.deliver(&batch), self.deliver(&batch));
                self.answer(batch, one && other);
            }
            Step::DeliverAndDie(count, point, pass) => {
                let batch = self.batch(*count);
                let taken = kill_at(point, *pass, self.deliver(&batch)).await;
                self.deaths += u32::from(taken.is_none());
                self.answer(batch, taken.unwrap_or(false));
            }
            Step::Sweep => self.sweep("nothing").await,
            Step::SweepAndDie(point) => self.sweep(point).await,
            Step::Replay => self.replay("nothing").await,
            Step::ReplayAndDie(point) => self.replay(point).await,
            Step::Retry => self.retry("nothing").await,
            Step::RetryAndDie(point) => self.retry(point).await,
            Step::Rebuild(which, parts) => {
                generations::unless_refused(generations::ask_to_rebuild(self.pool(), name(*which), *parts).await);
            }
            Step::Exchange(which, way) => {
                generations::unless_refused(generations::ask_to_exchange(self.pool(), name(*which), *way).await);
            }
            Step::Keep => self.keep("nothing").await,
            Step::KeepAndDie(point) => self.keep(point).await,
            Step::Pause(which) => {
                let by = Attribution::default();
                let new = NewPause { seconds: None, replace: true, by, idempotency_key: None };
                pause::pause(self.pool(), projection(*which), &new).await.unwrap();
            }
            Step::Resume(which) => self.resume(*which).await,
        }
    }

    fn pool(&self) -> &PgPool {
        &self.parts.database.pool
    }

    async fn resume(&self, which: usize) {
        match pause::resume(self.pool(), projection(which), &Attribution::default(), None).await {
            Ok(_) | Err(pause::Refused::NotPaused { .. }) => {}
            Err(refused) => panic!("{refused}"),
        }
    }

    /// Whether everybody took all of it.
    async fn deliver(&self, batch: &[Event]) -> bool {
        let mut taken = true;
        for applier in &self.parts.appliers {
            match apply(applier, batch, Mode::Live).await {
                Ok(_) => {}
                Err(error) if error.is_paused() => taken = false,
                Err(error) => panic!("{error}"),
            }
        }
        taken
    }

    fn answer(&mut self, batch: Vec<Event>, taken: bool) {
        if taken { self.acked.extend(batch) } else { self.bus.extend(batch) }
    }

    async fn keep(&mut self, point: &'static str) {
        let keeper = Generations { throttled: false, ..generations::keeper(&self.parts) };
        let keeping = tokio::time::timeout(A_WHILE * 2, keeper.run(CancellationToken::new()));
        self.deaths += u32::from(kill_at(point, 1, keeping).await.is_none());
    }

    fn batch(&mut self, count: usize) -> Vec<Event> {
        self.bus.drain(..count.min(self.bus.len())).collect()
    }

    async fn sweep(&mut self, point: &'static str) {
        for applier in &self.parts.appliers {
            let sweep = Sweep { applier: applier.clone(), head: Default::default(), grace: Duration::ZERO };
            let sweeping = tokio::time::timeout(A_WHILE, sweep.run(CancellationToken::new()));
            self.deaths += u32::from(kill_at(point, 1, sweeping).await.is_none());
        }
    }

    async fn retry(&mut self, point: &'static str) {
        let pool = &self.parts.database.pool;
        let plan = dead_letters::plan(pool, &Filter::default(), MAX_PLANNED).await.unwrap();
        if let Some(plan_token) = plan.plan_token {
            let by = Attribution::default();
            let retry = Retry { filter: Filter::default(), plan_token, rate: 1e5, by, idempotency_key: None };
            dead_letters::retry(pool, &retry).await.unwrap();
        }
        for applier in self.parts.appliers.clone() {
            let redriving = tokio::time::timeout(A_WHILE, Redrive { applier }.run(CancellationToken::new()));
            self.deaths += u32::from(kill_at(point, 1, redriving).await.is_none());
        }
    }

    async fn replay(&mut self, point: &'static str) {
        let selection: Selection = serde_json::from_str("{}").unwrap();
        let new = NewReplay { selection, rate: None, by: Attribution::default(), idempotency_key: None };
        let applier = &self.parts.appliers[self.appended % self.parts.appliers.len()];
        let pool = &self.parts.database.pool;
        let plan = replay::plan(pool, applier.projection, &new.selection).await.unwrap();
        replay::create(pool, applier.projection, plan, &new).await.unwrap();
        let running = tokio::time::timeout(A_WHILE, Replays::of(&self.parts.appliers).run(CancellationToken::new()));
        self.deaths += u32::from(kill_at(point, 1, running).await.is_none());
        // What a dead runner holds is taken over at once.
        sqlx::query("update operations set heartbeat_at = now() - interval '1 hour' where state = 'running'")
            .execute(pool)
            .await
            .unwrap();
    }
}

#[test]
fn no_sequence_of_operations_and_faults_takes_the_read_models_from_what_the_store_folds_to() {
    let mut rng = seeded();
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    let config = Config {
        cases: number("FLEET_MODEL_CASES", 10) as u32,
        max_shrink_time: 120_000,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let deaths = std::cell::Cell::new(0);
    let exchanges = std::cell::Cell::new(0);
    assert_eq!(catalogue().projections().len(), PROJECTIONS);
    let cases = (any::<u64>(), vec(step(), 5..40));
    let result = runner.run(&cases, |(seed, steps)| {
        // A panic within is the failure that proptest looks for.
        let (died, exchanged) = runtime.block_on(run(seed, &steps));
        deaths.set(deaths.get() + died);
        exchanges.set(exchanges.get() + exchanged);
        Ok(())
    });
    match result {
        Ok(()) => println!("{} deaths on the way, {} exchanges after it", deaths.get(), exchanges.get()),
        Err(TestError::Fail(reason, (seed, steps))) => {
            panic!("{reason}\nhistory seed {seed}, the shortest steps that do it:\n{steps:#?}")
        }
        Err(abort) => panic!("{abort}"),
    }
    assert!(deaths.get() > 0, "nothing died, so little was tested");
    assert!(exchanges.get() > 0, "nothing was built, so little was tested");
}

/// How many died on the way, and how often a generation took another's place after it.
async fn run(seed: u64, steps: &[Step]) -> (u32, usize) {
    let history = History::of(seed, 300).poison(seed, 0.05);
    let parts = Parts::new().await;
    let mut world =
        World { parts, history, appended: 0, relayed: Position::START, bus: Vec::new(), acked: Vec::new(), deaths: 0 };
    let mut before = Applied::new();
    for step in steps {
        world.take(step).await;
        let now = consistent(world.pool()).await;
        for (of, version) in before {
            assert!(now.get(&of).is_some_and(|now| *now >= version), "readers saw version {version} of {of:?}");
        }
        before = now;
    }
    // Only what was appended can be held.
    let mut so_far = world.history.clone();
    so_far.lines.truncate(world.appended);
    let known: std::collections::HashSet<_> =
        so_far.lines.iter().flat_map(|line| line.events.iter().map(|event| event.event_id)).collect();
    so_far.poisoned.retain(|poisoned| known.contains(&Some(poisoned.event_id)));
    for which in 0..PROJECTIONS {
        world.resume(which).await;
    }
    world.parts.converge(&so_far.held()).await;
    let keeping = generations::Keeping::of(&world.parts);
    let check = async || world.parts.converge(&so_far.held()).await;
    let exchanges = generations::finished(world.pool(), LIMIT, check).await;
    keeping.stop().await;
    assert_explained_as(Pool::Applying, &world.parts.appliers[0].pool).await;
    assert_explained_as(Pool::Plain, &world.parts.database.pool).await;
    world.parts.database.drop().await;
    (world.deaths, exchanges)
}
