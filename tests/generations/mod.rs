//! Read models that are built anew while they are read and written, put in place, and taken back.

mod building;
mod by_command;
mod calling_off;
mod exchanging;
mod past;
// Kill points are in debug builds only.
#[cfg(debug_assertions)]
mod raised;
mod verifying;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::apply::{Applier, Mode};
use workers::audit::Attribution;
use workers::generations::gate::{self, NewPromote, Way};
use workers::generations::rebuild::{self, NewRebuild};
use workers::generations::retire::{self, NewRetirement};
use workers::generations::{self, Generation, Generations, Raised, Refused, Standing};
use workers::operations::{self, State};

use crate::harness::parts::{LIMIT, Parts};
use crate::harness::{catalogue, eventually, full_size};
use crate::histories::History;
use crate::oracle::Held;

const PROGRESS: &str = "learner_progress";

fn by() -> Attribution {
    Attribution { actor: "ada".to_owned(), reason: "to see it".to_owned() }
}

/// One for each projection.
fn one_of_each(parts: &Parts) -> Vec<Applier> {
    let mut names = BTreeSet::new();
    parts.appliers.iter().filter(|applier| names.insert(applier.projection.name())).cloned().collect()
}

pub fn keeper(parts: &Parts) -> Generations {
    let (appliers, reading) = (one_of_each(parts), parts.database.pool.clone());
    Generations { appliers, head: Default::default(), reading, raised: Raised::Ignored, throttled: true }
}

pub struct Keeping {
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Keeping {
    pub fn of(parts: &Parts) -> Self {
        let stop = CancellationToken::new();
        Self { running: tokio::spawn(keeper(parts).run(stop.clone())), stop }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

async fn start(parts: &Parts, projection: &str, count: i32) -> Uuid {
    ask_to_rebuild(&parts.database.pool, projection, count).await.unwrap()
}

pub async fn ask_to_rebuild(pool: &PgPool, projection: &str, count: i32) -> Result<Uuid, Refused> {
    let projection = catalogue().projection(projection).unwrap();
    let plan = rebuild::plan(pool, projection).await?;
    let new = NewRebuild { parts: count, rate: None, plan_token: plan.plan_token, by: by(), idempotency_key: None };
    rebuild::ask(pool, projection, &new).await
}

async fn ask(parts: &Parts, projection: &str, way: Way) -> Result<Uuid, Refused> {
    ask_to_exchange(&parts.database.pool, projection, way).await
}

pub async fn ask_to_exchange(pool: &PgPool, projection: &str, way: Way) -> Result<Uuid, Refused> {
    let projection = catalogue().projection(projection).unwrap();
    let gate = gate::look(pool, projection, way, None).await?;
    let (generation, plan_token) = (Some(gate.generation), gate.plan_token);
    let new = NewPromote { way, generation, plan_token, by: by(), idempotency_key: None };
    gate::ask(pool, projection, &new).await
}

/// What was asked for, unless it cannot be done as things stand.
pub fn unless_refused(asked: Result<Uuid, Refused>) -> Option<Uuid> {
    match asked {
        Ok(operation) => Some(operation),
        Err(Refused::UnderWay { .. } | Refused::Impossible(_) | Refused::StalePlan) => None,
        Err(refused) => panic!("{refused}"),
    }
}

/// When all that was asked for has become true, as far as it can: what was built is put in place, and taken back again. Says how
/// often. After each time `check` is called.
pub async fn finished(pool: &PgPool, limit: Duration, check: impl AsyncFn()) -> usize {
    let done = async |what: &str| {
        eventually(what, limit, async || {
            let open: i64 = sqlx::query_scalar(
                "select count(*) from operations
                 where state in ('pending', 'running') and kind in ('rebuild', 'promote', 'rollback')",
            )
            .fetch_one(pool)
            .await
            .unwrap();
            if open == 0 { Ok(()) } else { Err(format!("{open} operations are not done")) }
        })
        .await;
    };
    done("all that was asked for is done").await;
    let mut exchanges = 0;
    for (way, standing) in [(Way::Promote, Standing::Ready), (Way::Rollback, Standing::Previous)] {
        for projection in catalogue().projections() {
            let all = generations::list(pool, projection.name(), 100).await.unwrap();
            if all.iter().any(|it| it.standing == standing) {
                let asked = async || ask_to_exchange(pool, projection.name(), way).await.map_err(|it| it.to_string());
                let operation = eventually("the gate is open", LIMIT, asked).await;
                done("it is in place").await;
                let now = operations::get(pool, operation).await.unwrap().unwrap();
                assert_eq!(now.state, State::Succeeded, "{:?}", now.error);
                exchanges += 1;
            }
        }
        check().await;
    }
    exchanges
}

async fn is(parts: &Parts, operation: Uuid, state: State) {
    eventually(&format!("it is {state:?}"), LIMIT, async || {
        let now = operations::get(&parts.database.pool, operation).await.unwrap().unwrap();
        if now.state == state { Ok(()) } else { Err(format!("{:?}: {:?}", now.state, now.error)) }
    })
    .await;
}

/// When the gate lets it through, which is when it has caught up.
pub async fn exchanged(parts: &Parts, projection: &str, way: Way) {
    let operation = eventually("the gate is open", LIMIT, async || {
        ask(parts, projection, way).await.map_err(|refused| refused.to_string())
    })
    .await;
    is(parts, operation, State::Succeeded).await;
}

async fn all(parts: &Parts, projection: &str) -> Vec<Generation> {
    generations::list(&parts.database.pool, projection, 100).await.unwrap()
}

/// Appends the rest of a history, and has it applied, shuffled and three times, as a bus would. At full size at most so many
/// events a second.
async fn live(parts: &Parts, history: &History, from: usize, rate: f64, mut rng: StdRng) {
    let (began, mut appended) = (Instant::now(), 0);
    for lines in history.lines[from..].chunks(40) {
        let before = parts.database.head().await;
        parts.load(lines).await;
        appended += lines.iter().map(|line| line.events.len()).sum::<usize>();
        let mut events = parts.events(before).await;
        events.extend([events.clone(), events.clone()].concat());
        events.shuffle(&mut rng);
        for some in events.chunks(100) {
            parts.apply(some, Mode::Live).await.unwrap();
        }
        if full_size() {
            tokio::time::sleep_until((began + Duration::from_secs_f64(appended as f64 / rate)).into()).await;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{appended} events in {seconds:.1} s, {:.0} a second", appended as f64 / seconds);
}

/// Everything is applied, and the tables that readers see are what the store folds to.
async fn converged(parts: &Parts) {
    parts.sweep().await;
    crate::oracle::assert_equal_but(&parts.database.pool, &Held::default()).await;
}

pub const STEPS: [&str; 10] = [
    "rebuild.created",
    "rebuild.begun",
    "rebuild.read",
    "rebuild.entered",
    "rebuild.written",
    "rebuild.recorded",
    "rebuild.advanced",
    "rebuild.committed",
    "rebuild.indexed",
    "rebuild.built",
];
pub const EXCHANGE: [&str; 6] =
    ["promote.locked", "promote.near", "promote.fenced", "promote.caught_up", "promote.exchanged", "promote.committed"];
const RETIRE: [&str; 2] = ["retire.dropped", "retire.committed"];
const VERIFY: [&str; 3] = ["verify.caught_up", "verify.compared", "verify.committed"];

/// At each of these somebody is killed here.
pub fn points() -> impl Iterator<Item = &'static str> {
    STEPS.into_iter().chain(EXCHANGE).chain(RETIRE).chain(VERIFY)
}

/// Whoever keeps the generations ends at a point, and another goes on.
#[cfg(debug_assertions)]
async fn dies(parts: &Parts, point: &'static str) {
    let stop = CancellationToken::new();
    let killed = kill_points::kill_at(point, 1, keeper(parts).run(stop.clone()));
    let killed = tokio::time::timeout(LIMIT, killed).await.unwrap_or_else(|_| panic!("{point} is not passed"));
    assert!(killed.is_none(), "{point}");
}

async fn retired(parts: &Parts, generation: i32) {
    let projection = catalogue().projection(PROGRESS).unwrap();
    let plan = retire::plan(&parts.database.pool, projection, generation).await.unwrap();
    let new = NewRetirement { generation, plan_token: plan.plan_token, by: by(), idempotency_key: None };
    let operation = retire::ask(&parts.database.pool, projection, &new).await.unwrap();
    is(parts, operation, State::Succeeded).await;
}
