//! What one event, one statement, one projection or one part of a process must not do to the others.

use std::sync::Arc;
use std::time::Duration;

use database::{Endpoint, Lent};
use events::{DecodeError, Payload, Recorded, Topic};
use futures::FutureExt;
use futures::future::BoxFuture;
use projections::topics::{INTEGRATION, PROGRESS};
use rand::Rng;
use read_model::{AnyProjection, Folded, Pending};
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::apply::{Applier, Mode, Tally};
use workers::audit::Attribution;
use workers::redrive::Redrive;
use workers::verdict::Event;
use workers::{dead_letters, retry};

use super::answers::{Answers, delivered, worker};
use crate::harness::parts::{LIMIT, Parts, apply, consistent, line};
use crate::harness::proxy::{Proxy, Weather};
use crate::harness::{Database, catalogue, eventually, full_size};
use crate::oracle::Held;
use crate::sample::seeded;

/// A user with so many events.
pub async fn user(parts: &Parts, versions: i32) -> Uuid {
    let user = Uuid::now_v7();
    let mut lines = vec![signed_up(user, "someone@example.org")];
    for version in 1..versions {
        let data = json!({"user_id": user, "email": format!("{version}@example.org")});
        lines.push(line("User", user, version, "UserEmailUpdated", &data));
    }
    parts.load(&lines).await;
    user
}

pub fn signed_up(user: Uuid, email: &str) -> events::AppendLine {
    let data = json!({"user_id": user, "email": email, "first_name": "Ada", "last_name": "L"});
    line("User", user, 0, "UserSignedUp", &data)
}

pub async fn users(parts: &Parts, count: usize) -> Vec<Event> {
    for number in 0..count {
        parts.load(&[signed_up(Uuid::now_v7(), &format!("{number}@example.org"))]).await;
    }
    parts.events(Default::default()).await
}

/// Lets Postgres fail with this SQLSTATE when the users that are written satisfy a condition.
pub async fn refuse(parts: &Parts, code: &str, condition: &str) {
    let sql = format!(
        "create sequence refusals;
         create function refuse() returns trigger language plpgsql as $$
         begin
             if (select {condition} from written) then
                 perform nextval('public.refusals');
                 raise exception 'a fault' using errcode = '{code}';
             end if;
             return null;
         end $$;
         create trigger refuse after insert on user_directory.users
         referencing new table as written for each statement execute function refuse()"
    );
    parts.database.pool.execute(AssertSqlSafe(sql)).await.unwrap();
}

/// As a worker does: until it succeeds.
async fn persist(applier: &Applier, events: &[Event]) -> (Tally, u32) {
    let mut tries = 0;
    let stop = CancellationToken::new();
    let applied = retry::until_done("a test", &stop, || {
        tries += 1;
        assert!(tries < 20, "it does not get through");
        apply(applier, events, Mode::Live)
    });
    let tally = applied.await.unwrap();
    (tally, tries)
}

#[tokio::test]
async fn what_is_missing_before_many_early_events_is_applied_in_parts_and_is_no_hole() {
    let parts = Parts::new().await;
    let (aggregates, versions) = if full_size() { (336, 2000) } else { (20, 300) };
    // More versions than a part has.
    let mut early = vec![user(&parts, 2500).await];
    for _ in 0..aggregates {
        early.push(user(&parts, versions).await);
    }
    let events = parts.events(Default::default()).await;
    let mut last = std::collections::BTreeMap::new();
    for event in &events {
        last.insert(event.aggregate_id, event.clone());
    }
    let last: Vec<Event> = last.into_values().collect();
    assert_eq!(last.len(), early.len());
    let tally = apply(parts.applier("user_directory"), &last, Mode::Live).await.unwrap();
    assert_eq!((tally.applied, tally.parked), (events.len() as u64, 0), "{tally:?}");
    // Each transaction has an id of its own, by which the rows that it wrote can be told.
    let largest = "select max(count) from (select count(*) from processed_event_ids group by xmin::text) as written";
    let largest = parts.database.count(largest).await;
    assert!(largest <= 2000 + last.len() as i64, "{largest} events in one transaction");
    parts.converge(&Held::default()).await;
}

#[tokio::test]
async fn a_batch_that_takes_too_long_is_made_smaller_until_it_goes_through() {
    for code in ["57014", "53200"] {
        let parts = Parts::new().await;
        let events = users(&parts, 200).await;
        refuse(&parts, code, "count(*) > 10").await;
        let applier = parts.applier("user_directory");
        let (_, tries) = persist(applier, &events).await;
        assert!(tries < 5, "{code}: {tries} tries");
        assert_eq!(parts.database.count("select count(*) from user_directory.users").await, 200);
        assert_eq!(parts.database.count("select count(*) from parked_events").await, 0, "{code}");
        // It has grown again as far as it goes, and no further failures are needed to know how far that is.
        assert!(applier.stride.now() >= 5, "{}", applier.stride.now());
        parts.database.pool.execute("drop trigger refuse on user_directory.users").await.unwrap();
        parts.converge(&Held::default()).await;
    }
}

#[tokio::test]
async fn an_event_that_is_too_slow_alone_is_parked_and_the_others_are_applied() {
    let parts = Parts::new().await;
    let mut events = users(&parts, 40).await;
    let slow = Uuid::now_v7();
    let data = json!({"user_id": slow, "email": "later@example.org"});
    parts.load(&[signed_up(slow, "slow@example.org"), line("User", slow, 1, "UserEmailUpdated", &data)]).await;
    events = [events, parts.events(Default::default()).await].concat();
    refuse(&parts, "57014", "bool_or(email like 'slow%' or email like 'later%')").await;
    let (_, tries) = persist(parts.applier("user_directory"), &events).await;
    assert!(tries < 5, "{tries} tries");
    let parked = "select count(*) from parked_events where reason = 'write_failed' and error like '%too slow 3 times%'";
    assert_eq!(parts.database.count(parked).await, 1);
    assert_eq!(parts.database.count("select count(*) from user_directory.users").await, 40);
    let mut held = Held::default();
    held.after("user_directory", events::AggregateId(slow), 0);
    parts.converge(&held).await;
}

#[tokio::test]
async fn an_event_for_which_there_is_no_memory_waits_and_the_others_are_applied() {
    let parts = Parts::new().await;
    users(&parts, 40).await;
    parts.load(&[signed_up(Uuid::now_v7(), "large@example.org")]).await;
    let events = parts.events(Default::default()).await;
    refuse(&parts, "53200", "bool_or(email like 'large%')").await;
    let applier = parts.applier("user_directory");
    let others = "select count(*) from user_directory.users";
    for _ in 0..10 {
        assert!(apply(applier, &events, Mode::Live).await.unwrap_err().is_transient());
        if parts.database.count(others).await == 40 {
            break;
        }
    }
    assert_eq!(parts.database.count(others).await, 40);
    assert_eq!(parts.database.count("select count(*) from parked_events").await, 0);
    parts.database.pool.execute("drop trigger refuse on user_directory.users").await.unwrap();
    parts.converge(&Held::default()).await;
}

/// A projection whose author has made a mistake.
#[derive(Debug)]
struct Fragile {
    inner: &'static dyn AnyProjection,
    /// Where it panics.
    mistake: Mistake,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    Begin,
    Fold,
    Write,
}

impl AnyProjection for Fragile {
    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn version(&self) -> u32 {
        self.inner.version()
    }
    fn tables(&self) -> &'static str {
        self.inner.tables()
    }
    fn indexes(&self) -> &'static str {
        self.inner.indexes()
    }
    fn topics(&self) -> &'static [&'static Topic] {
        self.inner.topics()
    }
    fn decodes(&self, event: &Payload) -> Result<bool, DecodeError> {
        self.inner.decodes(event)
    }
    fn begin(&self) -> Box<dyn Pending> {
        assert!(self.mistake != Mistake::Begin, "out of paint");
        Box::new(Folding { inner: self.inner.begin(), mistake: self.mistake, marked: false })
    }
}

struct Folding {
    inner: Box<dyn Pending>,
    mistake: Mistake,
    marked: bool,
}

impl Pending for Folding {
    fn fold(&mut self, event: &Recorded<Payload>) -> Result<Folded, DecodeError> {
        let marked = event.data.event_data.get().contains("marked");
        self.marked |= marked;
        assert!(!(marked && self.mistake == Mistake::Fold), "divided by {}", 0);
        self.inner.fold(event)
    }

    fn write<'a>(self: Box<Self>, db: &'a mut PgConnection) -> BoxFuture<'a, Result<(), read_model::Error>> {
        async move {
            assert!(!(self.marked && self.mistake == Mistake::Write), "divided by {}", 0);
            self.inner.write(db).await
        }
        .boxed()
    }
}

fn fragile(parts: &Parts, mistake: Mistake) -> Applier {
    let inner = catalogue().projection("user_directory").unwrap();
    let projection = Box::leak(Box::new(Fragile { inner, mistake }));
    Applier { projection, ..parts.applier("user_directory").clone() }
}

#[tokio::test]
async fn an_event_on_which_a_projection_panics_is_parked_and_the_others_are_applied() {
    for mistake in [Mistake::Fold, Mistake::Write] {
        let parts = Parts::new().await;
        users(&parts, 20).await;
        let marked = Uuid::now_v7();
        let data = json!({"user_id": marked, "email": "marked@example.org"});
        let next = json!({"user_id": marked, "email": "next@example.org"});
        let update = |version, data| line("User", marked, version, "UserEmailUpdated", data);
        parts.load(&[signed_up(marked, "m@example.org"), update(1, &data), update(2, &next)]).await;
        let events = parts.events(Default::default()).await;
        let tally = apply(&fragile(&parts, mistake), &events, Mode::Live).await.unwrap();
        assert_eq!((tally.applied, tally.parked, tally.held), (21, 1, 1), "{tally:?}");
        let found: (String, String, i32) = sqlx::query_as("select reason, error, event_version from parked_events")
            .fetch_one(&parts.database.pool)
            .await
            .unwrap();
        assert_eq!((found.0.as_str(), found.2), ("panicked", 2));
        assert!(found.1.contains("divided by 0"), "{}", found.1);
        consistent(&parts.database.pool).await;
    }
}

#[tokio::test]
async fn a_part_of_a_worker_that_panics_ends_the_worker_with_an_error_that_names_it() {
    let parts = Parts::new().await;
    users(&parts, 1).await;
    let mut worker = worker(&parts, &INTEGRATION);
    worker.appliers = vec![fragile(&parts, Mistake::Begin)];
    worker.sweep_grace = Duration::ZERO;
    let (sender, deliveries) = mpsc::channel(1);
    let _open = sender.clone();
    let running = worker.run(Vec::new(), deliveries, sender, CancellationToken::new());
    let ended = tokio::time::timeout(LIMIT, running).await.unwrap().unwrap_err();
    assert_eq!(ended.to_string(), "the sweep of user_directory panicked: out of paint");
}

#[tokio::test]
async fn a_projection_that_cannot_write_delays_its_sibling_by_a_moment_only() {
    let (parts, history) = Parts::with_history(seeded().random(), 1500).await;
    let mut lock = parts.database.pool.begin().await.unwrap();
    lock.execute("lock table learner_journeys.learner_journeys in access exclusive mode").await.unwrap();
    let answers = Arc::new(Answers::default());
    let (count, sender, deliveries) = delivered(&parts, &PROGRESS, &answers).await;
    // More may come.
    let _open = sender.clone();
    let stop = CancellationToken::new();
    let running = tokio::spawn(worker(&parts, &PROGRESS).run(Vec::new(), deliveries, sender, stop.clone()));
    // Without its sweep, whose grace is an hour.
    let unsettled = "select count(*) from events as event
         where aggregate_type = any(array['LearningSession', 'LearnerMilestone'])
         and not exists (
             select from projected_aggregates as known
             where known.projection = 'learner_progress'
             and known.aggregate_id = event.aggregate_id
             and known.version >= event.event_version)";
    eventually("all is acknowledged although one projection stands still", LIMIT, async || match answers.of() {
        (acked, 0) if acked == count => Ok(()),
        other => Err(format!("{other:?} of {count}")),
    })
    .await;
    assert_eq!(parts.database.count(unsettled).await, 0);
    let late = "select count(*) from projected_aggregates where projection = 'learner_journeys'";
    assert_eq!(parts.database.count(late).await, 0);
    lock.rollback().await.unwrap();
    eventually("the batch that it had in hand is applied", LIMIT, async || match parts.database.count(late).await {
        0 => Err("nothing".to_owned()),
        _ => Ok(()),
    })
    .await;
    stop.cancel();
    running.await.unwrap().unwrap();
    parts.converge(&history.held()).await;
}

#[tokio::test]
async fn an_event_that_cannot_be_read_holds_its_aggregate_where_it_matters_and_nothing_else() {
    let parts = Parts::new().await;
    let [held, passed] = [(); 2].map(|()| Uuid::now_v7());
    let email = |user, version, email: &str| {
        line("User", user, version, "UserEmailUpdated", &json!({"user_id": user, "email": email}))
    };
    users(&parts, 5).await;
    parts
        .load(&[signed_up(held, "a@example.org"), email(held, 1, "b@example.org"), email(held, 2, "c@example.org")])
        .await;
    let unknown = line("User", passed, 1, "UserTeleported", &json!({"to": "Mars"}));
    parts.load(&[signed_up(passed, "a@example.org"), unknown, email(passed, 2, "c@example.org")]).await;
    // Both second events become what their data would be if it printed a hundred times more than it says.
    let mark = "alter table events disable trigger user;
        update events set data_bytes = 99000000 where event_version = 2;
        alter table events enable trigger user";
    parts.database.pool.execute(sqlx::raw_sql(mark)).await.unwrap();

    let applier = parts.applier("user_directory");
    let events = parts.events(Default::default()).await;
    let last: Vec<Event> = events.iter().filter(|event| event.version.0 == 3).cloned().collect();
    let tally = apply(applier, &last, Mode::Live).await.unwrap();
    assert_eq!((tally.applied, tally.skipped, tally.parked, tally.held), (3, 1, 1, 1), "{tally:?}");
    parts.sweep().await;
    let version = "select coalesce(sum(version), 0)::bigint from user_directory.users where email = 'c@example.org'";
    assert_eq!(parts.database.count(version).await, 3, "the other went on");

    let letter = async || {
        let filter = dead_letters::Filter::default();
        dead_letters::list(&parts.database.pool, &filter, None, 10).await.unwrap().pop()
    };
    let parked = letter().await.unwrap();
    assert_eq!((parked.reason.as_str(), parked.event_version), ("unreadable", Some(2)));
    assert!(parked.error.contains("99000000 bytes"), "{}", parked.error);
    let stop = CancellationToken::new();
    let redriving = tokio::spawn(Redrive { applier: applier.clone() }.run(stop.clone()));
    let by = || Attribution { actor: "test".into(), reason: "test".into() };
    dead_letters::retry_one(&parts.database.pool, parked.id, 1000.0, None, &by(), None).await.unwrap();
    let again = eventually("it is parked again", LIMIT, async || {
        letter().await.filter(|letter| letter.attempts == 2).ok_or_else(|| "not yet".to_owned())
    })
    .await;
    assert_eq!(again.reason, "unreadable");
    let (event_id, error) = (again.event_id, again.error.clone());
    let discard = dead_letters::Discard { id: again.id, event_id, error, seen: None, by: by(), idempotency_key: None };
    dead_letters::discard_one(&parts.database.pool, &discard).await.unwrap();
    eventually("what comes after it is applied", LIMIT, async || match parts.database.count(version).await {
        6 => Ok(()),
        sum => Err(sum.to_string()),
    })
    .await;
    stop.cancel();
    redriving.await.unwrap();
}

#[tokio::test]
async fn no_connection_goes_back_to_its_pool_inside_a_transaction() {
    let database = Database::new().await;
    database.pool.execute("create table written (round int)").await.unwrap();
    let proxy = Proxy::before(&database.url).await;
    let pool = Endpoint::new(&proxy.url).unwrap().applying(1);
    pool.execute("select 1").await.unwrap();
    proxy.set(Weather::Slow(Duration::from_millis(4)));
    let (mut given_up, mut begun) = (0, 0);
    for round in 0..60_i32 {
        // The answer to `begin` is on its way when nobody waits for it any more.
        let mut connection = Lent::by(&pool).await.unwrap();
        let in_time = tokio::time::timeout(Duration::from_millis(6), connection.begin()).await.is_ok();
        drop(connection);
        *(if in_time { &mut begun } else { &mut given_up }) += 1;
        sqlx::query("insert into written values ($1)").bind(round).execute(&pool).await.unwrap();
        let written = "select count(*) from written";
        assert_eq!(database.count(written).await, i64::from(round) + 1, "what was written is committed");
    }
    assert!(given_up > 10, "{given_up} given up, {begun} begun");
}

#[tokio::test]
async fn who_is_given_up_by_a_silent_server_gives_the_place_in_the_pool_back() {
    let database = Database::new().await;
    let proxy = Proxy::before(&database.url).await;
    let pool = Endpoint::new(&proxy.url).unwrap().applying(1);
    pool.execute("select 1").await.unwrap();
    let mut connection = Lent::by(&pool).await.unwrap();
    proxy.set(Weather::BlackHole);
    let begun = tokio::time::timeout(Duration::from_millis(50), connection.begin()).await.is_ok();
    assert!(!begun, "a server that is silent begins nothing");
    drop(connection);
    proxy.set(Weather::Fair);
    // What went into the hole is never answered: only another connection can be.
    eventually("the pool has a connection to give", LIMIT, async || {
        pool.execute("select 1").await.map(drop).map_err(|error| error.to_string())
    })
    .await;
}
