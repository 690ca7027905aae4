//! Read models that are built anew while they are read and written, put in place, and taken back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[cfg(debug_assertions)]
use events::Position;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
#[cfg(debug_assertions)]
use read_model::AnyProjection;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::apply::{Applier, Mode};
use workers::audit::Attribution;
use workers::fence::Fence;
use workers::generations::as_of::{self, AsOf, NewAsOf};
use workers::generations::promote::{self, NewPromote, Way};
use workers::generations::rebuild::{self, NewRebuild};
use workers::generations::retire::{self, NewRetirement};
use workers::generations::verify::{self, Findings};
use workers::generations::{self, Generation, Generations, Raised, Refused, Standing};
use workers::operations::{self, State};

#[cfg(debug_assertions)]
use crate::faults::fences::Next;
use crate::harness::client::{SAMPLE_EVENTS, load_sample};
use crate::harness::parts::{LIMIT, Parts};
use crate::harness::proxy::{Proxy, Weather};
use crate::harness::{Fleet, catalogue, eventually, expected, full_size};
use crate::histories::History;
use crate::oracle::Held;
use crate::sample::seeded;

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
    let gate = promote::gate(pool, projection, way, None).await?;
    let (generation, plan_token) = (Some(gate.generation), gate.plan_token);
    let new = NewPromote { way, generation, plan_token, by: by(), idempotency_key: None };
    promote::ask(pool, projection, &new).await
}

/// What was asked for, unless it cannot be done as things stand.
pub fn unless_refused(asked: Result<Uuid, Refused>) -> Option<Uuid> {
    match asked {
        Ok(operation) => Some(operation),
        Err(Refused::UnderWay(_) | Refused::Impossible(_) | Refused::StalePlan) => None,
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

/// A reader with one connection and one prepared statement, which must never see less than before.
struct Reader {
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicUsize>,
    running: JoinHandle<()>,
}

impl Reader {
    async fn of(parts: &Parts) -> Self {
        let mut db = PgConnection::connect(&parts.database.url).await.unwrap();
        let (stop, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted, most) = (stop.clone(), reads.clone(), AtomicI64::new(0));
        let running = tokio::spawn(async move {
            let statement = "select coalesce(sum(answers), 0)::bigint from learner_progress.daily_progress";
            while !stopped.load(Ordering::SeqCst) {
                let now: i64 = sqlx::query_scalar(statement).fetch_one(&mut db).await.unwrap();
                let before = most.fetch_max(now, Ordering::SeqCst);
                assert!(now >= before, "{now} after {before}");
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { stop, reads, running }
    }

    async fn stop(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.running.await.unwrap();
        self.reads.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_is_promoted_and_taken_back_while_it_is_read_and_written() {
    let mut rng = seeded();
    let history = History::of(rng.random(), if full_size() { 400_000 } else { 6000 });
    let parts = Parts::new().await;
    let half = history.lines.len() / 2;
    parts.load(&history.lines[..half]).await;
    parts.sweep().await;
    let reader = Reader::of(&parts).await;
    let keeping = Keeping::of(&parts);
    let rebuild = start(&parts, PROGRESS, 2).await;
    let quarter = half + half / 2;
    let first = History { lines: history.lines[..quarter].to_vec(), ..history.clone() };
    let second = history.clone();
    let (one, two): (u64, u64) = rng.random();
    let seed = |seed: u64| <StdRng as rand::SeedableRng>::seed_from_u64(seed);
    tokio::join!(live(&parts, &first, half, 2000.0, seed(one)), async {
        is(&parts, rebuild, State::Waiting).await;
        exchanged(&parts, PROGRESS, Way::Promote).await;
    });
    is(&parts, rebuild, State::Succeeded).await;
    let standings = |all: Vec<Generation>| all.iter().map(|it| (it.generation, it.standing)).collect::<Vec<_>>();
    assert_eq!(standings(all(&parts, PROGRESS).await), [(2, Standing::Live), (1, Standing::Previous)]);
    tokio::join!(live(&parts, &second, quarter, 2000.0, seed(two)), exchanged(&parts, PROGRESS, Way::Rollback));
    assert_eq!(standings(all(&parts, PROGRESS).await), [(2, Standing::Previous), (1, Standing::Live)]);
    converged(&parts).await;
    // And forward again, to the one that was kept.
    exchanged(&parts, PROGRESS, Way::Rollback).await;
    assert_eq!(standings(all(&parts, PROGRESS).await), [(2, Standing::Live), (1, Standing::Previous)]);
    converged(&parts).await;
    let reads = reader.stop().await;
    assert!(reads > 100, "{reads} reads");
    let held_up = "select array_agg((result ->> 'held_up_ms')::bigint order by created_at) from operations
                   where kind in ('promote', 'rollback')";
    let held_up: Vec<i64> = sqlx::query_scalar(held_up).fetch_one(&parts.database.pool).await.unwrap();
    println!("{reads} reads; writers were held up for {held_up:?} ms");
    assert_eq!(held_up.len(), 3);
    assert!(held_up.iter().all(|&ms| ms < if full_size() { 100 } else { 5000 }), "{held_up:?}");
    retired(&parts, 1).await;
    assert_eq!(standings(all(&parts, PROGRESS).await), [(2, Standing::Live), (1, Standing::Retired)]);
    let left = "select count(*) from projected_aggregates where projection = 'learner_progress' and generation = 1";
    eventually("it is forgotten", LIMIT, async || match parts.database.count(left).await {
        0 => Ok(()),
        left => Err(left.to_string()),
    })
    .await;
    keeping.stop().await;
    parts.converge(&Held::default()).await;
}

async fn retired(parts: &Parts, generation: i32) {
    let projection = catalogue().projection(PROGRESS).unwrap();
    let plan = retire::plan(&parts.database.pool, projection, generation).await.unwrap();
    let new = NewRetirement { generation, plan_token: plan.plan_token, by: by(), idempotency_key: None };
    let operation = retire::ask(&parts.database.pool, projection, &new).await.unwrap();
    is(parts, operation, State::Succeeded).await;
}

/// Everything is applied, and the tables that readers see are what the store folds to.
async fn converged(parts: &Parts) {
    parts.sweep().await;
    crate::oracle::assert_equal_but(&parts.database.pool, &Held::default()).await;
}

/// Both generations have parked it, and both go on behind it when the cause is gone: what was decided about the one that is read
/// holds for the one that is built.
#[cfg(debug_assertions)]
#[tokio::test]
async fn a_rebuild_whose_projection_is_redriven_meanwhile_is_equal_and_can_be_promoted() {
    const USERS: &str = "user_directory";
    let (parts, _) = Parts::with_history(seeded().random(), 2000).await;
    let pool = &parts.database.pool;
    let execute = async |sql: String| {
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(pool).await.unwrap();
    };
    let poison = "add constraint poison check (md5(user_id::text) > '4')";
    execute(format!("alter table user_directory.users {poison}")).await;
    parts.sweep().await;
    let rebuild = start(&parts, USERS, 2).await;
    dies(&parts, "rebuild.begun").await;
    execute(format!("alter table user_directory__g2.users {poison}")).await;
    let keeping = Keeping::of(&parts);
    is(&parts, rebuild, State::Waiting).await;
    let parked = async |generation: i32| {
        let of = format!(
            "select count(*) from parked_events where projection = 'user_directory' and generation = {generation}"
        );
        let letters: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(of)).fetch_one(pool).await.unwrap();
        letters
    };
    let before = parked(1).await;
    assert!(before > 3 && parked(2).await == before, "{before}");

    for schema in ["user_directory", "user_directory__g2"] {
        execute(format!("alter table {schema}.users drop constraint poison")).await;
    }
    let stop = CancellationToken::new();
    let applier = parts.applier(USERS).clone();
    let redriving = tokio::spawn(workers::redrive::Redrive { applier }.run(stop.clone()));
    let of = |generation| workers::dead_letters::Filter {
        projection: Some(USERS.to_owned()),
        generation: Some(generation),
        ..Default::default()
    };
    // One by its id, of the live generation, and the rest of it as a batch: nobody speaks of the one that is built.
    let letters = workers::dead_letters::list(pool, &of(1), None, 100).await.unwrap();
    let id = letters[0].id;
    assert_eq!(letters[0].generation, Some(1));
    let operation = workers::dead_letters::retry_one(pool, id, 1000.0, None, &by(), None).await.unwrap();
    is(&parts, operation, State::Succeeded).await;
    assert_eq!((parked(1).await, parked(2).await), (before - 1, before - 1));
    let retry = async |filter: workers::dead_letters::Filter| {
        let plan = workers::dead_letters::plan(pool, &filter, 1000).await.unwrap();
        let plan_token = plan.plan_token.unwrap();
        let retry = workers::dead_letters::Retry { filter, plan_token, rate: 1000.0, by: by(), idempotency_key: None };
        workers::dead_letters::retry(pool, &retry).await.unwrap()
    };
    let operation = retry(of(1)).await;
    is(&parts, operation, State::Succeeded).await;
    assert_eq!((parked(1).await, parked(2).await), (0, 0));

    // And one that only the generation that is built has parked, by its name.
    let head = parts.database.head().await;
    let late = "alter table user_directory__g2.users add constraint late check (md5(user_id::text) > '4') not valid";
    execute(late.to_owned()).await;
    parts.load(&History::of(77, 400).lines).await;
    parts.sweep().await;
    eventually("it has parked some", LIMIT, async || match parked(2).await {
        0 => Err("nothing is parked".to_owned()),
        _ => Ok(()),
    })
    .await;
    assert!(parked(1).await == 0 && parts.database.head().await > head);
    execute("alter table user_directory__g2.users drop constraint late".to_owned()).await;
    let refused = eventually("it has caught up", LIMIT, async || match ask(&parts, USERS, Way::Promote).await {
        Err(refused) if !refused.to_string().contains("behind") => Ok(refused.to_string()),
        other => Err(format!("{other:?}")),
    });
    assert!(refused.await.contains("parked in it that the live generation has applied"));
    let operation = retry(of(2)).await;
    is(&parts, operation, State::Succeeded).await;
    exchanged(&parts, USERS, Way::Promote).await;
    stop.cancel();
    redriving.await.unwrap();
    keeping.stop().await;
    parts.converge(&Held::default()).await;
}

#[tokio::test]
async fn a_read_model_as_of_a_past_position_is_what_the_store_folded_to_there_and_stays_so() {
    let mut rng = seeded();
    let history = History::of(rng.random(), 3000);
    let parts = Parts::new().await;
    let pool = &parts.database.pool;
    let projection = catalogue().projection(PROGRESS).unwrap();
    let half = history.lines.len() / 2;
    parts.load(&history.lines[..half]).await;
    let position = parts.database.head().await.0;
    parts.load(&history.lines[half..]).await;
    parts.sweep().await;
    let time: chrono::DateTime<chrono::Utc> = sqlx::query_scalar("select created_at from events where position = $1")
        .bind(position)
        .fetch_one(pool)
        .await
        .unwrap();
    let by_time = as_of::plan(pool, projection, AsOf::Time(time)).await.unwrap();
    assert!(by_time.position >= position && by_time.recorded_at == time, "{by_time:?}");
    let none = as_of::plan(pool, projection, AsOf::Position(position * 10)).await.unwrap_err();
    assert!(none.to_string().contains("the store has no position"), "{none}");

    let plan = as_of::plan(pool, projection, AsOf::Position(position)).await.unwrap();
    let new = NewAsOf {
        as_of: AsOf::Position(position),
        parts: 2,
        rate: None,
        plan_token: plan.plan_token,
        by: by(),
        idempotency_key: Some("once".to_owned()),
    };
    let operation = as_of::ask(pool, projection, &new).await.unwrap();
    assert_eq!(as_of::ask(pool, projection, &new).await.unwrap(), operation, "one key, one of them");
    let again = NewAsOf { idempotency_key: None, ..new.clone() };
    assert!(matches!(as_of::ask(pool, projection, &again).await, Err(Refused::AsOfUnderWay(_))));
    // Nobody waits for it: a rebuild goes on beside it.
    let rebuild = start(&parts, PROGRESS, 1).await;
    let keeping = Keeping::of(&parts);
    is(&parts, operation, State::Succeeded).await;
    is(&parts, rebuild, State::Waiting).await;
    let built = all(&parts, PROGRESS).await.into_iter().find(|it| it.operation == Some(operation)).unwrap();
    assert_eq!((built.standing, built.as_of), (Standing::AsOf, Some(position)));
    crate::oracle::assert_equal_as_of(pool, PROGRESS, &built.schema_name, position).await;
    let gate = promote::gate(pool, projection, Way::Promote, Some(built.generation)).await.unwrap();
    assert!(gate.refusals.iter().any(|it| it.contains("to be looked at")), "{gate:?}");
    parts.load(&History::of(13, 300).lines).await;
    exchanged(&parts, PROGRESS, Way::Promote).await;
    crate::oracle::assert_equal_as_of(pool, PROGRESS, &built.schema_name, position).await;
    let written = "select count(*) from pg_class as class cross join lateral aclexplode(class.relacl) as granted
                   where class.relnamespace = 'learner_progress__g2'::regnamespace and class.relkind = 'r'
                   and granted.privilege_type in ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')";
    assert_eq!(
        (&*built.schema_name, parts.database.count(written).await),
        ("learner_progress__g2", 0),
        "it is to be read only"
    );
    retired(&parts, built.generation).await;
    keeping.stop().await;
    parts.converge(&Held::default()).await;
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

/// One connection, over which nothing comes quickly: whoever holds it and does not go on holds up all others.
#[tokio::test]
async fn measuring_live_lag_holds_up_nobody_who_builds() {
    let (parts, _) = Parts::with_history(seeded().random(), 500).await;
    parts.sweep().await;
    let proxy = Proxy::before(&parts.database.url).await;
    let reading = PgPoolOptions::new().max_connections(1).acquire_timeout(Duration::from_secs(10));
    let reading = reading.connect(&proxy.url).await.unwrap();
    proxy.set(Weather::Slow(Duration::from_millis(150)));
    let rebuild = start(&parts, PROGRESS, 1).await;
    let (stop, keeper) = (CancellationToken::new(), Generations { reading, ..keeper(&parts) });
    let running = tokio::spawn(keeper.run(stop.clone()));
    is(&parts, rebuild, State::Waiting).await;
    stop.cancel();
    running.await.unwrap();
}

/// Whoever keeps the generations ends at a point, and another goes on.
#[cfg(debug_assertions)]
async fn dies(parts: &Parts, point: &'static str) {
    let stop = CancellationToken::new();
    let killed = kill_points::kill_at(point, 1, keeper(parts).run(stop.clone()));
    let killed = tokio::time::timeout(LIMIT, killed).await.unwrap_or_else(|_| panic!("{point} is not passed"));
    assert!(killed.is_none(), "{point}");
}

#[cfg(debug_assertions)]
#[tokio::test]
async fn a_rebuild_a_promote_and_a_rollback_survive_a_kill_at_each_step() {
    let mut rng = seeded();
    let (parts, _) = Parts::with_history(rng.random(), 3000).await;
    parts.sweep().await;
    let rebuild = start(&parts, PROGRESS, 2).await;
    for point in STEPS {
        dies(&parts, point).await;
    }
    let keeping = Keeping::of(&parts);
    is(&parts, rebuild, State::Waiting).await;
    keeping.stop().await;
    for way in [Way::Promote, Way::Rollback] {
        let operation = ask(&parts, PROGRESS, way).await.unwrap();
        for point in EXCHANGE {
            dies(&parts, point).await;
        }
        is(&parts, operation, State::Succeeded).await;
        converged(&parts).await;
    }
    let projection = catalogue().projection(PROGRESS).unwrap();
    let plan = retire::plan(&parts.database.pool, projection, 2).await.unwrap();
    let new = NewRetirement { generation: 2, plan_token: plan.plan_token, by: by(), idempotency_key: None };
    let operation = retire::ask(&parts.database.pool, projection, &new).await.unwrap();
    for point in RETIRE {
        dies(&parts, point).await;
    }
    is(&parts, operation, State::Succeeded).await;
    parts.converge(&Held::default()).await;
}

/// A worker has begun to apply to the live generation when another takes its place: its transaction is in the old one, whole,
/// and the new one has its events all the same.
#[cfg(debug_assertions)]
#[tokio::test]
async fn an_apply_that_is_under_way_is_waited_for() {
    let (parts, _) = Parts::with_history(seeded().random(), 500).await;
    let keeping = Keeping::of(&parts);
    let rebuild = start(&parts, PROGRESS, 1).await;
    is(&parts, rebuild, State::Waiting).await;
    let events = parts.events(Position::START).await;
    let applier = parts.applier(PROGRESS).clone();
    let ours: Vec<_> =
        events.iter().filter(|event| applier.topic.carries(&event.data.aggregate_type)).take(50).cloned().collect();
    let held = kill_points::hold_at("apply.written", async move { applier.apply(&ours, Mode::Live).await }).await;
    let operation = ask(&parts, PROGRESS, Way::Promote).await.unwrap();
    // It waits for the lock, gives up, and comes again.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let now = operations::get(&parts.database.pool, operation).await.unwrap().unwrap();
    assert_eq!(now.state, State::Pending);
    held.go().await.unwrap();
    is(&parts, operation, State::Succeeded).await;
    eventually("what it remembered of the bus is forgotten", LIMIT, async || {
        match parts.database.count("select count(*) from processed_event_ids where generation = 1").await {
            0 => Ok(()),
            ids => Err(ids.to_string()),
        }
    })
    .await;
    keeping.stop().await;
    parts.converge(&Held::default()).await;
}

/// Those who share the fence would let each other in past whoever waits to change it, if they did not stand in one queue with
/// him.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promote_gets_in_among_busy_writers() {
    let (parts, history) = Parts::with_history(seeded().random(), 300).await;
    let applier = parts.applier("vocabulary").clone();
    let keeping = Keeping::of(&parts);
    let rebuild = start(&parts, "vocabulary", 1).await;
    is(&parts, rebuild, State::Waiting).await;
    let (promoted, writes) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (applier, promoted, writes) = (applier.clone(), promoted.clone(), writes.clone());
        writers.spawn(async move {
            while !promoted.is_cancelled() {
                let mut tx = applier.pool.begin().await.unwrap();
                Fence::enter(&mut tx, applier.projection).await.unwrap();
                // So long that there is always one of them in it.
                sqlx::query("select pg_sleep(0.2)").execute(&mut *tx).await.unwrap();
                tx.commit().await.unwrap();
                writes.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    let more = async || {
        let before = writes.load(Ordering::SeqCst);
        eventually("all are at it", LIMIT, async || match writes.load(Ordering::SeqCst) - before {
            12.. => Ok(()),
            few => Err(few.to_string()),
        })
        .await;
    };
    more().await;
    let operation = ask(&parts, "vocabulary", Way::Promote).await.unwrap();
    eventually("it is in place", Duration::from_secs(20), async || {
        let now = operations::get(&parts.database.pool, operation).await.unwrap().unwrap();
        if now.state == State::Succeeded { Ok(()) } else { Err(format!("{:?}", now.state)) }
    })
    .await;
    more().await;
    promoted.cancel();
    writers.join_all().await;
    keeping.stop().await;
    parts.converge(&history.held()).await;
}

#[tokio::test]
async fn what_is_parked_in_it_and_applied_in_the_live_one_keeps_the_gate_shut() {
    let (parts, _) = Parts::with_history(seeded().random(), 500).await;
    parts.sweep().await;
    let keeping = Keeping::of(&parts);
    let rebuild = start(&parts, PROGRESS, 1).await;
    is(&parts, rebuild, State::Waiting).await;
    let park = "insert into parked_events (id, topic, projection, generation, reason, error, event_id, aggregate_id,
                    event_version, position, payload)
                select gen_random_uuid(), 'progress-events', 'learner_progress', 2, 'wrong_data', 'made up', event_id,
                    events.aggregate_id, event_version, position, ''
                from events
                join projected_aggregates as applied
                    on applied.aggregate_id = events.aggregate_id and applied.projection = 'learner_progress'
                    and applied.generation = 1
                order by position limit 1";
    sqlx::query(park).execute(&parts.database.pool).await.unwrap();
    let refused = ask(&parts, PROGRESS, Way::Promote).await.unwrap_err().to_string();
    assert!(refused.contains("1 events are parked in it that the live generation has applied"), "{refused}");
    keeping.stop().await;
}

#[tokio::test]
async fn of_fifty_starts_at_once_one_is_a_rebuild_and_the_others_are_told_which() {
    let (parts, _) = Parts::with_history(seeded().random(), 50).await;
    let projection = catalogue().projection(PROGRESS).unwrap();
    let plan = rebuild::plan(&parts.database.pool, projection).await.unwrap();
    let ask = |key: Option<String>| {
        let (pool, plan_token) = (parts.database.pool.clone(), plan.plan_token.clone());
        async move {
            let new = NewRebuild { parts: 1, rate: None, plan_token, by: by(), idempotency_key: key };
            rebuild::ask(&pool, projection, &new).await
        }
    };
    let all = futures::future::join_all((0..50).map(|_| ask(None))).await;
    let started: Vec<_> = all.iter().filter_map(|asked| asked.as_ref().ok()).collect();
    assert_eq!(started.len(), 1);
    let told = |asked: &Result<Uuid, Refused>| matches!(asked, Err(Refused::UnderWay(id)) if id == started[0]);
    assert_eq!(all.iter().filter(|asked| told(asked)).count(), 49);
    assert_eq!(parts.database.count("select count(*) from audit_log where action = 'rebuild.start'").await, 1);

    rebuild::pause(&parts.database.pool, *started[0], &by()).await.unwrap();
    rebuild::cancel(&parts.database.pool, *started[0], &by()).await.unwrap();
    let keyed = || ask(Some("once".to_owned()));
    assert_eq!(keyed().await.unwrap(), keyed().await.unwrap(), "one key, one rebuild");
    let other = NewRebuild {
        parts: 2,
        rate: None,
        plan_token: plan.plan_token.clone(),
        by: by(),
        idempotency_key: Some("once".to_owned()),
    };
    let refused = rebuild::ask(&parts.database.pool, projection, &other).await.unwrap_err();
    assert!(matches!(refused, Refused::Operation(operations::Refused::KeyReused(_))), "{refused}");
}

#[tokio::test]
async fn a_rebuild_is_paused_resumed_and_cancelled_and_leaves_nothing() {
    let (parts, _) = Parts::with_history(seeded().random(), 2000).await;
    let rebuild = start(&parts, PROGRESS, 1).await;
    let keeping = Keeping::of(&parts);
    is(&parts, rebuild, State::Waiting).await;
    rebuild::pause(&parts.database.pool, rebuild, &by()).await.unwrap();
    let reached = || async { all(&parts, PROGRESS).await[0].position };
    eventually("it says that it is paused", LIMIT, async || {
        let pace = all(&parts, PROGRESS).await[0].pace.clone();
        if pace == ["paused"] { Ok(()) } else { Err(format!("{pace:?}")) }
    })
    .await;
    let before = reached().await;
    parts.load(&History::of(7, 300).lines).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(reached().await, before, "nothing is built while it is paused");
    rebuild::resume(&parts.database.pool, rebuild, &by()).await.unwrap();
    let head = parts.database.head().await;
    eventually("it goes on", LIMIT, async || match reached().await {
        Some(position) if position >= head.0 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    rebuild::cancel(&parts.database.pool, rebuild, &by()).await.unwrap();
    eventually("it is gone", LIMIT, async || match all(&parts, PROGRESS).await[0].standing {
        Standing::Retired => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let schemas = "select count(*) from pg_namespace where nspname like 'learner_progress%'";
    assert_eq!(parts.database.count(schemas).await, 1);
    assert!(matches!(ask(&parts, PROGRESS, Way::Promote).await, Err(Refused::Impossible(_))));
    keeping.stop().await;
}

/// While a projection is developed, a raised version is all that anybody has to say. Two versions of the code side by side: each
/// keeps what it has built, and the way back is the old one's.
#[cfg(debug_assertions)]
#[tokio::test]
async fn a_raised_version_is_built_and_promoted_by_itself_and_the_old_code_keeps_the_way_back() {
    let (parts, _) = Parts::with_history(seeded().random(), 1000).await;
    parts.sweep().await;
    let old = Keeping::of(&parts);
    let next: &'static dyn AnyProjection = Box::leak(Box::new(Next(catalogue().projection(PROGRESS).unwrap())));
    let applier = Applier { projection: next, ..parts.applier(PROGRESS).clone() };
    let reading = parts.database.pool.clone();
    let keeper = Generations {
        appliers: vec![applier],
        head: Default::default(),
        reading,
        raised: Raised::Promoted,
        throttled: true,
    };
    let stop = CancellationToken::new();
    let new = tokio::spawn(keeper.run(stop.clone()));
    eventually("the next version is live", LIMIT, async || {
        let newest = all(&parts, PROGRESS).await.swap_remove(0);
        let is = (newest.version, newest.standing);
        if is == (2, Standing::Live) { Ok(()) } else { Err(format!("{is:?}")) }
    })
    .await;
    let rebuilds = "select count(*) from operations where kind in ('rebuild', 'promote')";
    assert_eq!(parts.database.count(rebuilds).await, 2, "one rebuild, one promote");
    // What is appended now the old code applies to the old generation, or going back would lose it.
    parts.load(&History::of(11, 300).lines).await;
    let head = parts.database.head().await;
    eventually("the one before follows the store", LIMIT, async || match all(&parts, PROGRESS).await[1].position {
        Some(position) if position >= head.0 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    stop.cancel();
    new.await.unwrap();
    exchanged(&parts, PROGRESS, Way::Rollback).await;
    old.stop().await;
    assert_eq!(all(&parts, PROGRESS).await[1].standing, Standing::Live);
    parts.converge(&Held::default()).await;
}

/// In production nobody promotes but a person; and what he has cancelled is not begun again.
#[cfg(debug_assertions)]
#[tokio::test]
async fn a_raised_version_is_built_once_and_waits_for_a_person() {
    let (parts, _) = Parts::with_history(seeded().random(), 300).await;
    parts.sweep().await;
    let next: &'static dyn AnyProjection = Box::leak(Box::new(Next(catalogue().projection(PROGRESS).unwrap())));
    let keep = |projection| {
        let applier = Applier { projection, ..parts.applier(PROGRESS).clone() };
        let reading = parts.database.pool.clone();
        let keeper = Generations {
            appliers: vec![applier],
            head: Default::default(),
            reading,
            raised: Raised::Built,
            throttled: true,
        };
        let stop = CancellationToken::new();
        Keeping { running: tokio::spawn(keeper.run(stop.clone())), stop }
    };
    // The code that built it, and two workers of the next.
    let keepers = [catalogue().projection(PROGRESS).unwrap(), next, next].map(keep);
    eventually("the next version waits", LIMIT, async || {
        let newest = all(&parts, PROGRESS).await.swap_remove(0);
        let is = (newest.generation, newest.version, newest.standing);
        if is == (2, 2, Standing::Ready) { Ok(()) } else { Err(format!("{is:?}")) }
    })
    .await;
    let asked = "select count(*) from operations";
    assert_eq!(parts.database.count(asked).await, 1, "one rebuild, and nothing else");
    let operation = all(&parts, PROGRESS).await[0].operation.unwrap();
    rebuild::cancel(&parts.database.pool, operation, &by()).await.unwrap();
    // They have looked several times until then.
    eventually("it is forgotten", LIMIT, async || {
        match parts.database.count("select count(*) from generations where forgotten_at is not null").await {
            1 => Ok(()),
            left => Err(left.to_string()),
        }
    })
    .await;
    assert_eq!(parts.database.count(asked).await, 1, "it is not begun again");
    for keeper in keepers {
        keeper.stop().await;
    }
}

/// As a person does it, on processes.
#[tokio::test]
async fn the_commands_say_what_they_would_do_do_it_and_take_it_back() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    load_sample(&store).await;
    let _workers = fleet.workers(&store).await;
    let admin = fleet.process("admin").await.start().await;
    let run = async |args: &[&str]| {
        let builder = fleet.process(args[0]).await.env("FLEET_HTTP", &admin.http());
        let (status, out, error) = args[1..].iter().fold(builder, |builder, arg| builder.arg(arg)).output().await;
        (status.code(), out + &error)
    };
    let by = ["--reason", "a test", "--actor", "ada"];
    let (code, out) = run(&["rebuild", PROGRESS, "--dry-run"]).await;
    assert!(code == Some(0) && out.contains("generation 2 of learner_progress, by version 1"), "{out}");
    assert_eq!(fleet.database.count("select count(*) from operations").await, 0, "a dry run writes nothing");
    let (code, out) = run(&["rebuild", PROGRESS]).await;
    assert!(code != Some(0) && out.contains("reason: must say something"), "{out}");
    let (code, out) = run(&[&["rebuild", PROGRESS, "--parts", "2"][..], &by].concat()).await;
    assert!(code == Some(0) && out.contains("waits for you to promote it"), "{out}");
    let (code, out) = run(&[&["rebuild", PROGRESS][..], &by].concat()).await;
    assert!(code != Some(0) && out.contains("a rebuild of it is under way: operation"), "{out}");
    let (code, out) = run(&["generations", PROGRESS]).await;
    assert!(code == Some(0) && out.contains("ready") && out.contains("live"), "{out}");
    fleet.database.settled(SAMPLE_EVENTS, LIMIT).await;
    eventually("it is promoted", LIMIT, async || {
        let (code, out) = run(&[&["promote", PROGRESS][..], &by].concat()).await;
        if code == Some(0) { Ok(()) } else { Err(out) }
    })
    .await;
    expected::assert_sample(&fleet.database.pool).await;
    let (code, out) = run(&["generations", PROGRESS]).await;
    assert!(code == Some(0) && out.contains("back possible until"), "{out}");
    let (code, out) = run(&[&["rollback", PROGRESS][..], &by].concat()).await;
    assert_eq!(code, Some(0), "{out}");
    expected::assert_sample(&fleet.database.pool).await;
    let (code, out) = run(&[&["retire", PROGRESS, "--generation", "1"][..], &by].concat()).await;
    assert!(code != Some(0) && out.contains("refused: it is live"), "{out}");
    let (code, out) = run(&[&["retire", PROGRESS, "--generation", "2"][..], &by].concat()).await;
    assert_eq!(code, Some(0), "{out}");
    let audit = "select count(*) from audit_log where actor = 'ada' and reason = 'a test'";
    assert_eq!(fleet.database.count(audit).await, 4, "rebuild, promote, rollback, retire");
    let (code, out) = run(&["rollback", PROGRESS]).await;
    assert!(code != Some(0) && out.contains("no generation that is previous"), "{out}");
}

/// The generation has caught up with the store, and the fence is not taken yet: what is applied to the live one now must be in
/// the new one when readers see it.
#[cfg(debug_assertions)]
#[tokio::test]
async fn what_comes_while_a_promote_begins_is_in_what_readers_see_after_it() {
    let (parts, _) = Parts::with_history(seeded().random(), 500).await;
    parts.sweep().await;
    let keeping = Keeping::of(&parts);
    let rebuild = start(&parts, PROGRESS, 2).await;
    is(&parts, rebuild, State::Waiting).await;
    keeping.stop().await;
    let operation = ask(&parts, PROGRESS, Way::Promote).await.unwrap();
    let stop = CancellationToken::new();
    let held = kill_points::hold_at("promote.near", keeper(&parts).run(stop.clone())).await;
    let before = parts.database.head().await;
    parts.load(&History::of(3, 300).lines).await;
    parts.apply(&parts.events(before).await, Mode::Live).await.unwrap();
    let keeper = tokio::spawn(held.go());
    is(&parts, operation, State::Succeeded).await;
    stop.cancel();
    keeper.await.unwrap();
    // Nothing is swept: the rows are there.
    crate::oracle::assert_equal_but(&parts.database.pool, &Held::default()).await;
}

#[tokio::test]
async fn what_a_person_discarded_a_rebuild_goes_on_without() {
    let (parts, _) = Parts::with_history(seeded().random(), 300).await;
    parts.sweep().await;
    let pool = &parts.database.pool;
    let discard = "insert into operations (id, kind, selection, state, selected)
                       values ('00000000-0000-7000-8000-000000000001', 'discard', '{}', 'succeeded', 1)";
    sqlx::query(discard).execute(pool).await.unwrap();
    let discard = "insert into discarded_events (id, topic, projection, generation, reason, error, event_id, aggregate_id,
                       event_version, position, payload, attributes, attempts, first_parked_at, last_parked_at, operation_id)
                   select event_id, 'integration-events', 'user_directory', 1, 'wrong_data', 'no', event_id, aggregate_id,
                       event_version, position, '', '{}', 1, now(), now(), '00000000-0000-7000-8000-000000000001'
                   from events where aggregate_type = 'User' and event_version = 1 order by position limit 1";
    assert_eq!(sqlx::query(discard).execute(pool).await.unwrap().rows_affected(), 1);
    let keeping = Keeping::of(&parts);
    let rebuild = start(&parts, "user_directory", 1).await;
    is(&parts, rebuild, State::Waiting).await;
    keeping.stop().await;
    let missing = "select count(*) from user_directory.users as live
                   left join user_directory__g2.users as rebuilt using (user_id)
                   where rebuilt.user_id is null";
    assert_eq!(parts.database.count(missing).await, 1, "without the event that made it");
    let known = "select count(*) from projected_aggregates as live
                 join projected_aggregates as rebuilt using (projection, aggregate_id, version)
                 where projection = 'user_directory' and live.generation = 1 and rebuilt.generation = 2";
    let all = "select count(*) from projected_aggregates where projection = 'user_directory' and generation = 1";
    assert_eq!(parts.database.count(known).await, parts.database.count(all).await, "and on to the same versions");
}

async fn verified(parts: &Parts, projection: &str) -> (Uuid, Findings) {
    let projection = catalogue().projection(projection).unwrap();
    let operation = verify::ask(&parts.database.pool, projection, &by(), None).await.unwrap();
    let result = eventually("it has ended", LIMIT, async || {
        let now = operations::get(&parts.database.pool, operation).await.unwrap().unwrap();
        match now.state {
            State::Succeeded => Ok(now.result.unwrap().0),
            State::Failed => panic!("{:?}", now.error),
            state => Err(format!("{state:?}")),
        }
    })
    .await;
    (operation, serde_json::from_value(result).unwrap())
}

/// What was done to the rows behind the fleet's back is found and named, each by its key; the rest is equal.
#[tokio::test]
async fn a_verification_names_what_was_changed_removed_and_added_by_hand() {
    let (parts, _) = Parts::with_history(seeded().random(), 3000).await;
    parts.sweep().await;
    let keeping = Keeping::of(&parts);
    let (_, findings) = verified(&parts, PROGRESS).await;
    assert!(findings.equal && findings.events > 500, "{findings:?}");
    assert!(findings.tables.len() == 4 && findings.tables.iter().all(|table| table.rows > 0), "{findings:?}");
    for sql in [
        "update learner_progress.user_progress set answers = answers + 1
         where user_id = (select user_id from learner_progress.user_progress order by user_id limit 1)",
        "delete from learner_progress.daily_progress
         where (user_id, date) = (select user_id, date from learner_progress.daily_progress order by user_id, date limit 1)",
        "insert into learner_progress.daily_progress
         select user_id, date + 10000, sessions_completed, sessions_abandoned, answers, correct, study_seconds
         from learner_progress.daily_progress order by user_id, date limit 1",
    ] {
        assert_eq!(sqlx::query(sql).execute(&parts.database.pool).await.unwrap().rows_affected(), 1);
    }
    let (operation, findings) = verified(&parts, PROGRESS).await;
    assert!(!findings.equal && findings.ledger_differences == 0, "{findings:?}");
    let found = verify::differences(&parts.database.pool, operation).await.unwrap();
    let kinds: Vec<_> = found.iter().map(|it| (&*it.table_name, &*it.kind, it.columns.clone())).collect();
    assert_eq!(
        BTreeSet::from_iter(kinds),
        BTreeSet::from([
            ("user_progress", "changed", vec!["answers".to_owned()]),
            ("daily_progress", "missing", vec![]),
            ("daily_progress", "extra", vec![]),
        ])
    );
    assert!(found.iter().all(|it| it.key["user_id"].is_string()), "{found:?}");
    eventually("nothing of it is left", LIMIT, async || {
        match parts.database.count("select count(*) from pg_namespace where nspname like 'learner_progress__g%'").await
        {
            0 => Ok(()),
            left => Err(left.to_string()),
        }
    })
    .await;
    keeping.stop().await;
}

/// Three rows of a million, at full size.
#[tokio::test]
async fn a_verification_finds_a_row_among_very_many() {
    let users: i64 = if full_size() { 1_000_000 } else { 3000 };
    let parts = Parts::new().await;
    let pool = &parts.database.pool;
    let fill = "
        with told as (
            select number, md5(number::text)::uuid as id,
                   jsonb_build_object('user_id', md5(number::text)::uuid, 'name', 'Ada', 'email', number || '@example.org') as event_data
            from generate_series(1, $1) as number
        ), head as (
            update event_store_head set position = $1
        )
        insert into events (position, event_id, aggregate_id, aggregate_type, event_type, event_version, event_data, metadata,
                            occurred_at, created_at, data_bytes)
        select number, md5('event ' || number)::uuid, id, 'User', 'UserSignedUp', 1, event_data, '{}',
               now(), now(), octet_length(event_data::text) + 2
        from told";
    sqlx::query(fill).bind(users).execute(pool).await.unwrap();
    let keeping = Keeping::of(&parts);
    start(&parts, "user_directory", 2).await;
    exchanged(&parts, "user_directory", Way::Promote).await;
    let (_, findings) = verified(&parts, "user_directory").await;
    assert!(findings.equal && findings.events == users && findings.tables[0].rows == users, "{findings:?}");
    for sql in [
        "update user_directory.users set email = 'nobody@example.org' where user_id = md5('7')::uuid",
        "delete from user_directory.users where user_id = md5('77')::uuid",
        "insert into user_directory.users
         select (jsonb_populate_record(users, '{\"user_id\": \"00000000-0000-0000-0000-000000000000\"}')).*
         from user_directory.users where user_id = md5('777')::uuid",
    ] {
        assert_eq!(sqlx::query(sql).execute(pool).await.unwrap().rows_affected(), 1);
    }
    let began = Instant::now();
    let (operation, findings) = verified(&parts, "user_directory").await;
    println!("{users} rows were compared in {:?}", began.elapsed());
    let found = verify::differences(pool, operation).await.unwrap();
    let found =
        found.iter().map(|it| (it.kind.clone(), it.key["user_id"].as_str().unwrap().to_owned(), it.columns.clone()));
    let id = async |number: &str| {
        sqlx::query_scalar::<_, String>("select md5($1)::uuid::text").bind(number).fetch_one(pool).await.unwrap()
    };
    let expected = [
        ("changed".to_owned(), id("7").await, vec!["email".to_owned()]),
        ("missing".to_owned(), id("77").await, vec![]),
        ("extra".to_owned(), Uuid::nil().to_string(), vec![]),
    ];
    assert_eq!(found.collect::<BTreeSet<_>>(), BTreeSet::from(expected), "{findings:?}");
    keeping.stop().await;
}

/// Under live traffic, shuffled and tripled, with aggregates that are held, on a read model of two topics as well.
#[tokio::test]
async fn a_verification_of_what_is_right_finds_nothing_whatever_comes_meanwhile() {
    let mut rng = seeded();
    let history = History::of(rng.random(), if full_size() { 80_000 } else { 4000 }).poison(rng.random(), 0.02);
    let parts = Parts::new().await;
    let half = history.lines.len() / 2;
    parts.load(&history.lines[..half]).await;
    parts.sweep().await;
    let keeping = Keeping::of(&parts);
    let traffic = live(&parts, &history, half, 1000.0, <StdRng as rand::SeedableRng>::seed_from_u64(rng.random()));
    let verifying = async {
        let projections = [PROGRESS, "learning_time", "user_directory", "vocabulary", PROGRESS];
        for projection in projections.into_iter().cycle().take(if full_size() { 10 } else { 5 }) {
            let (operation, findings) = verified(&parts, projection).await;
            let found = verify::differences(&parts.database.pool, operation).await.unwrap();
            assert!(findings.equal, "{projection}: {findings:?} {found:?}");
        }
    };
    tokio::join!(traffic, verifying);
    keeping.stop().await;
}

#[cfg(debug_assertions)]
#[tokio::test]
async fn a_verification_that_dies_goes_on_where_it_was() {
    let (parts, _) = Parts::with_history(seeded().random(), 2000).await;
    parts.sweep().await;
    let projection = catalogue().projection(PROGRESS).unwrap();
    let operation = verify::ask(&parts.database.pool, projection, &by(), None).await.unwrap();
    for point in ["rebuild.created", "rebuild.committed"].into_iter().chain(VERIFY) {
        dies(&parts, point).await;
    }
    is(&parts, operation, State::Succeeded).await;
    let result = operations::get(&parts.database.pool, operation).await.unwrap().unwrap().result.unwrap().0;
    assert_eq!(result["equal"], true, "{result}");
}
