//! One generation in the place of another, under readers and writers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

#[cfg(debug_assertions)]
use events::Position;
use rand::Rng;
use rand::rngs::StdRng;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
#[cfg(debug_assertions)]
use workers::apply::Mode;
use workers::fence::Fence;
use workers::generations::gate::Way;
#[cfg(debug_assertions)]
use workers::generations::retire::{self, NewRetirement};
use workers::generations::{Generation, Standing};
use workers::operations::{self, State};

#[cfg(debug_assertions)]
use crate::harness::catalogue;
use crate::harness::parts::{LIMIT, Parts};
use crate::harness::{eventually, full_size};
use crate::histories::History;
use crate::oracle::Held;
use crate::sample::seeded;

#[cfg(debug_assertions)]
use super::{EXCHANGE, RETIRE, STEPS, by, dies, keeper};
use super::{Keeping, PROGRESS, all, ask, converged, exchanged, is, live, retired, start};

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
    assert!(refused.contains("1 event parked in it, which the live generation has applied"), "{refused}");
    keeping.stop().await;
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
