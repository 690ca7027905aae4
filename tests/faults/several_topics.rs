//! A read model that listens to two topics: each has workers of its own, and what happens to those of one is of no account
//! to the other.

use std::time::Duration;

use bus::Chaos;
use event_store::tail::Head;
use events::{AggregateId, AppendLine, DecodeError, Payload, Position, Topic};
use kill_points::{hold_at, kill_at};
use projections::topics::integration::INTEGRATION;
use projections::topics::progress::PROGRESS;
use rand::Rng;
use rand::seq::SliceRandom;
use read_model::{AnyProjection, Pending};
use serde_json::json;
use sqlx::Executor;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::apply::{Applier, Mode};
use workers::audit::Attribution;
use workers::dead_letters::{self, Filter, MAX_PLANNED, Retry};
use workers::fence;
use workers::lag::{State, Status};
use workers::operations;
use workers::redrive::Redrive;
use workers::replay::{self, NewReplay, Replays, Selection};
use workers::sweep::Sweep;

use super::growth::user;
use crate::harness::client::{append, connect, event, signed_up};
use crate::harness::parts::{LIMIT, Parts, apply, consistent, line};
use crate::harness::{Admin, Broker, Database, Fleet, eventually};
use crate::histories::History;
use crate::oracle::{self, Held};
use crate::sample::seeded;

const NAME: &str = "learning_time";

/// A session of the user's: its start and its end.
fn session(user: Uuid, seconds: i32) -> [AppendLine; 2] {
    let session = Uuid::now_v7();
    let started = json!({"session_id": session, "user_id": user, "item_count": 1, "strategy": "mixed"});
    let completed = json!({
        "session_id": session, "user_id": user, "completed_count": 0, "correct_count": 0, "duration_seconds": seconds,
        "reason": "all_items_completed",
    });
    [
        line("LearningSession", session, 0, "SessionStarted", &started),
        line("LearningSession", session, 1, "SessionCompleted", &completed),
    ]
}

/// Where the read model stands on a topic.
async fn stand(database: &Database, topic: &Topic) -> Status {
    let report = database.lag().await;
    report.projections.into_iter().find(|status| (&*status.name, &*status.topic) == (NAME, topic.name)).unwrap()
}

/// Sweeps until it has settled the store on its topic.
async fn swept(parts: &Parts, applier: &Applier) {
    let head = parts.database.head().await.0;
    let sweep = Sweep { applier: applier.clone(), head: Head::default(), grace: Duration::ZERO };
    let stop = CancellationToken::new();
    let sweeping = tokio::spawn(sweep.run(stop.clone()));
    eventually("it is settled on its topic", LIMIT, async || {
        let status = stand(&parts.database, applier.topic).await;
        if status.settled_position >= head { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    stop.cancel();
    sweeping.await.unwrap();
}

#[tokio::test]
async fn while_the_workers_of_one_topic_are_away_the_other_goes_on_and_only_the_one_is_late() {
    let fleet = Fleet::on(&Broker::start(Chaos::new(1)).await).await;
    let store = fleet.event_store().await;
    let mut client = connect(&store).await;
    let (ada, session) = (Uuid::now_v7(), Uuid::now_v7());
    client.append_events(append("User", ada, vec![signed_up(ada)])).await.unwrap();
    let started = json!({"session_id": session, "user_id": ada, "item_count": 1, "strategy": "mixed"});
    let completed = json!({"session_id": session, "user_id": ada, "duration_seconds": 90, "reason": "done"});
    let events = vec![event("SessionStarted", started), event("SessionCompleted", completed)];
    client.append_events(append("LearningSession", session, events)).await.unwrap();

    let _progress = fleet.worker(PROGRESS.name, &store).await;
    eventually("the time is there, without a name", LIMIT, async || {
        let times = "select count(*) from learning_time.learners where study_seconds = 90 and first_name is null";
        if fleet.database.count(times).await == 1 { Ok(()) } else { Err("it is not".to_owned()) }
    })
    .await;
    eventually("its topic is settled", LIMIT, async || {
        let status = stand(&fleet.database, &PROGRESS).await;
        let settled = (status.settled_position, status.lag_events, status.state) == (3, 0, State::Running);
        if settled { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    let late = stand(&fleet.database, &INTEGRATION).await;
    assert_eq!((late.settled_position, late.lag_events, late.state), (0, 1, State::Stopped), "{late:?}");
    let admin = fleet.process("admin").await.start().await;
    let shown = Admin::of(&admin).get("/projections/learning_time").await;
    assert_eq!((&shown["topic"], &shown["lag_events"]), (&json!(INTEGRATION.name), &json!(1)), "the latest is shown");
    let shown = Admin::of(&admin).get("/projections/learning_time?topic=progress-events").await;
    assert_eq!(shown["lag_events"], 0);
    let (status, problem) = Admin::of(&admin).ask("/projections/learning_time?topic=vocabulary-events").await;
    assert_eq!(status, 404, "{problem}");

    let _integration = fleet.worker(INTEGRATION.name, &store).await;
    eventually("the name is there, beside the time", LIMIT, async || {
        let both = "select count(*) from learning_time.learners where study_seconds = 90 and first_name = 'Ada'";
        if fleet.database.count(both).await == 1 { Ok(()) } else { Err("it is not".to_owned()) }
    })
    .await;
    assert_eq!(stand(&fleet.database, &INTEGRATION).await.lag_events, 0);
    oracle::assert_equal(&fleet.database.pool).await;
}

#[tokio::test]
async fn each_topic_is_settled_by_itself_and_forgets_its_own_ids_only() {
    let mut rng = seeded();
    let (parts, _) = Parts::with_history(rng.random(), 1000).await;
    let mut events = parts.events(Position::START).await;
    events.shuffle(&mut rng);
    let [progress, integration] = [&PROGRESS, &INTEGRATION].map(|topic| parts.applier_on(NAME, topic));
    let ids = async |topic: &Topic| {
        let ids = "select count(*) from processed_event_ids where projection = 'learning_time' and topic = $1";
        sqlx::query_scalar::<_, i64>(ids).bind(topic.name).fetch_one(&parts.database.pool).await.unwrap()
    };
    let mut applied = Vec::new();
    for applier in [progress, integration] {
        let tally = apply(applier, &events, Mode::Live).await.unwrap();
        applied.push((tally.applied + tally.skipped) as i64);
    }
    assert_eq!(vec![ids(&PROGRESS).await, ids(&INTEGRATION).await], applied);
    swept(&parts, progress).await;
    assert_eq!((ids(&PROGRESS).await, ids(&INTEGRATION).await), (0, applied[1]));
    assert_eq!(stand(&parts.database, &INTEGRATION).await.settled_position, 0);
    consistent(&parts.database.pool).await;
    swept(&parts, integration).await;
    assert_eq!((ids(&PROGRESS).await, ids(&INTEGRATION).await), (0, 0));
    parts.converge(&Held::default()).await;
}

/// What the other topic has settled says nothing of this one.
#[tokio::test]
async fn what_one_topic_has_not_brought_is_swept_however_far_the_other_is() {
    let parts = Parts::new().await;
    let ada = Uuid::now_v7();
    parts.load(&[user(ada, 0)]).await;
    parts.load(&session(ada, 60)).await;
    for topic in [&PROGRESS, &INTEGRATION] {
        swept(&parts, parts.applier_on(NAME, topic)).await;
    }
    let both = "select count(*) from learning_time.learners where study_seconds = 60 and first_name = 'A'";
    assert_eq!(parts.database.count(both).await, 1);
    parts.converge(&Held::default()).await;
}

/// The constraint stands for whatever makes Postgres refuse a row.
const REFUSE: &str = "alter table learning_time.learners add constraint no_mallory check (first_name <> 'Mallory')";
const ALLOW: &str = "alter table learning_time.learners drop constraint no_mallory";

/// Decides to retry all that is parked.
async fn retry(parts: &Parts) {
    let pool = &parts.database.pool;
    let plan = dead_letters::plan(pool, &Filter::default(), MAX_PLANNED).await.unwrap();
    let filter = Filter::default();
    let plan_token = plan.plan_token.unwrap();
    let retry = Retry { filter, plan_token, rate: 1e5, by: Attribution::default(), idempotency_key: None };
    dead_letters::retry(pool, &retry).await.unwrap();
}

#[tokio::test]
async fn an_aggregate_that_is_held_on_one_topic_holds_nothing_on_the_other() {
    let parts = Parts::new().await;
    let database = &parts.database;
    let mallory = Uuid::now_v7();
    let name = json!({"user_id": mallory, "first_name": "Mallory", "last_name": "L"});
    parts.load(&[user(mallory, 0), line("User", mallory, 1, "UserProfileUpdated", &name)]).await;
    parts.load(&session(mallory, 60)).await;
    database.pool.execute(REFUSE).await.unwrap();
    parts.sweep().await;
    parts.load(&session(mallory, 30)).await;
    parts.sweep().await;
    let (late, well) = (stand(database, &INTEGRATION).await, stand(database, &PROGRESS).await);
    assert_eq!((late.parked, late.held_aggregates, late.lag_events), (1, 1, 0), "{late:?}");
    assert_eq!((well.parked, well.held_aggregates, well.lag_events), (0, 0, 0), "{well:?}");
    let row = "select count(*) from learning_time.learners where study_seconds = 90 and first_name = 'A'";
    assert_eq!(database.count(row).await, 1, "the times of one whose name is parked go on");
    let mut held = Held::default();
    held.after(NAME, AggregateId(mallory), 1);
    oracle::assert_equal_but(&database.pool, &held).await;

    // The workers of the other topic leave the decision alone; those of its own make it true, and meanwhile the others apply.
    database.pool.execute(ALLOW).await.unwrap();
    retry(&parts).await;
    let stop = CancellationToken::new();
    let others = Redrive { applier: parts.applier_on(NAME, &PROGRESS).clone() };
    assert!(
        kill_at("redrive.read", 1, tokio::time::timeout(Duration::from_secs(3), others.run(stop.clone())))
            .await
            .is_some()
    );
    let own = Redrive { applier: parts.applier_on(NAME, &INTEGRATION).clone() };
    let redriving = hold_at("redrive.recorded", own.run(stop.clone())).await;
    // Of somebody else: a row that both topics write is locked by one transaction at a time.
    let head = database.head().await;
    parts.load(&session(Uuid::now_v7(), 10)).await;
    let tally = apply(parts.applier_on(NAME, &PROGRESS), &parts.events(head).await, Mode::Live).await.unwrap();
    assert_eq!((tally.applied, tally.skipped), (1, 1), "{tally:?}");
    let redriving = tokio::spawn(redriving.go());
    eventually("it is released", LIMIT, async || match database.count("select count(*) from parked_events").await {
        0 => Ok(()),
        parked => Err(format!("{parked} are parked")),
    })
    .await;
    stop.cancel();
    redriving.await.unwrap();
    parts.converge(&Held::default()).await;
}

/// The read model of users in a version of the program that knows their events by another topic.
#[derive(Debug)]
struct Moved(&'static dyn AnyProjection);

static USERS: Topic = Topic { name: "user-events", subscription: "users", ..INTEGRATION };

impl AnyProjection for Moved {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn version(&self) -> u32 {
        self.0.version()
    }
    fn tables(&self) -> &'static str {
        self.0.tables()
    }
    fn indexes(&self) -> &'static str {
        self.0.indexes()
    }
    fn topics(&self) -> &'static [&'static Topic] {
        static TOPICS: [&Topic; 1] = [&USERS];
        &TOPICS
    }
    fn decodes(&self, event: &Payload) -> Result<bool, DecodeError> {
        self.0.decodes(event)
    }
    fn begin(&self) -> Box<dyn Pending> {
        self.0.begin()
    }
}

#[tokio::test]
async fn what_is_parked_goes_with_its_aggregate_type_to_another_topic_and_is_redriven_there() {
    let parts = Parts::new().await;
    let database = &parts.database;
    let mallory = Uuid::now_v7();
    parts.load(&[user(mallory, 0)]).await;
    database.pool.execute("alter table user_directory.users add constraint poison check (false)").await.unwrap();
    parts.sweep().await;
    database.pool.execute("alter table user_directory.users drop constraint poison").await.unwrap();

    let projection: &'static dyn AnyProjection = Box::leak(Box::new(Moved(parts.applier("user_directory").projection)));
    let mut db = database.pool.acquire().await.unwrap();
    let established = fence::establish(&mut db, projection).await.unwrap();
    assert_eq!((established.projection, established.topics), (false, vec![USERS.name.to_owned()]));
    let moved = "select count(*) from parked_events where topic = 'user-events'";
    assert_eq!(database.count(moved).await, 1);
    retry(&parts).await;
    let stop = CancellationToken::new();
    let applier = Applier { projection, topic: &USERS, ..parts.applier("user_directory").clone() };
    let redriving = tokio::spawn(Redrive { applier }.run(stop.clone()));
    eventually("it is redriven", LIMIT, async || {
        match database.count("select count(*) from user_directory.users").await {
            1 => Ok(()),
            users => Err(users.to_string()),
        }
    })
    .await;
    stop.cancel();
    redriving.await.unwrap();
    assert_eq!(database.count("select count(*) from parked_events").await, 0);
}

#[tokio::test]
async fn a_repair_goes_through_all_topics_whichever_workers_run_it_and_however_often_they_die() {
    let mut rng = seeded();
    let (parts, _) = Parts::with_history(rng.random(), 3000).await;
    let pool = &parts.database.pool;
    for (topic, points) in [
        (&PROGRESS, ["replay.claimed", "apply.locked", "apply.committed", "replay.applied", "replay.noted"]),
        (&INTEGRATION, ["apply.recorded", "apply.committed", "replay.claimed", "apply.fenced", "replay.applied"]),
    ] {
        let selection: Selection = serde_json::from_str("{}").unwrap();
        let new = NewReplay { selection, rate: None, by: Attribution::default(), idempotency_key: None };
        let applier = parts.applier_on(NAME, topic);
        let plan = replay::plan(pool, applier.projection, &new.selection).await.unwrap();
        let carried =
            |topic: &Topic| topic.aggregate_types.iter().map(|carried| (*carried).to_owned()).collect::<Vec<_>>();
        let of_both = sqlx::query_scalar("select count(*) from events where aggregate_type = any($1)");
        let of_both: i64 =
            of_both.bind([carried(&PROGRESS), carried(&INTEGRATION)].concat()).fetch_one(pool).await.unwrap();
        assert_eq!(plan.selected, of_both);
        let id = replay::create(pool, applier.projection, plan, &new).await.unwrap();
        let workers = [applier.clone()];
        for point in points {
            let running = tokio::time::timeout(Duration::from_secs(60), Replays::of(&workers).run(Default::default()));
            assert!(kill_at(point, 1, running).await.is_none(), "{point} was not passed");
            consistent(pool).await;
            sqlx::query("update operations set heartbeat_at = now() - interval '1 hour'").execute(pool).await.unwrap();
        }
        let stop = CancellationToken::new();
        let finishing = tokio::spawn(Replays::of(&workers).run(stop.clone()));
        eventually("it succeeds", LIMIT, async || {
            let operation = operations::get(pool, id).await.unwrap().unwrap();
            if operation.state == operations::State::Succeeded { Ok(()) } else { Err(format!("{operation:?}")) }
        })
        .await;
        stop.cancel();
        finishing.await.unwrap();
        for topic in [&PROGRESS, &INTEGRATION] {
            assert_eq!(stand(&parts.database, topic).await.lag_events, 0, "all of it is applied");
        }
        consistent(pool).await;
        parts.load(&History::of(rng.random(), 500).lines).await;
    }
    parts.converge(&Held::default()).await;
}

/// All of it in the rows of few users, which the workers of both topics write at once.
#[tokio::test]
async fn workers_of_two_topics_write_the_same_rows_at_once_and_lose_nothing() {
    let mut rng = seeded();
    let parts = Parts::new().await;
    let users: Vec<_> = (0..5).map(|_| Uuid::now_v7()).collect();
    for user_id in &users {
        parts.load(&[user(*user_id, 0)]).await;
    }
    for round in 1..40 {
        for user_id in &users {
            let name = json!({"user_id": user_id, "first_name": format!("A{round}"), "last_name": "B"});
            parts.load(&[line("User", *user_id, round, "UserProfileUpdated", &name)]).await;
            parts.load(&session(*user_id, round)).await;
        }
    }
    let events = parts.events(Position::START).await;
    let mut workers = tokio::task::JoinSet::new();
    for topic in [&PROGRESS, &INTEGRATION] {
        for _ in 0..3 {
            let (applier, mut events) = (parts.applier_on(NAME, topic).clone(), events.clone());
            events.shuffle(&mut rng);
            workers.spawn(async move {
                for batch in events.chunks(20) {
                    apply(&applier, batch, Mode::Live).await.unwrap();
                }
            });
        }
    }
    workers.join_all().await;
    assert_eq!(parts.database.count("select count(*) from parked_events").await, 0);
    consistent(&parts.database.pool).await;
    parts.converge(&Held::default()).await;
}
