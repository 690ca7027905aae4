//! The laws of the author's test kit, kept by every read model there is.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;

use event_store::read::{self, Filter};
use events::{AggregateId, EventId, Payload, Position, Recorded, Version};
use futures::FutureExt;
use projections::learner_journeys::LearnerJourneys;
use projections::learner_progress::LearnerProgress;
use projections::learning_time::LearningTime;
use projections::user_directory::UserDirectory;
use projections::vocabulary::Vocabulary;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use read_model::Projection;
use read_model::testing::{Generation, any_cut, any_order};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;
use workers::apply::Mode;

use crate::harness::full_size;
use crate::harness::parts::{Parts, line};
use crate::oracle::Held;
use crate::sample::seeded;

/// A history in which anything may happen again: sessions start twice, users sign up anew, items are made once more.
async fn again(parts: &Parts, rng: &mut StdRng) -> Vec<Recorded<Payload>> {
    let head = parts.database.head().await;
    let page = read::page(&parts.database.pool, Default::default(), head, head.0, &Filter::default()).await.unwrap();
    let mut so_far: BTreeMap<AggregateId, Vec<Recorded<Payload>>> = BTreeMap::new();
    let mut events = Vec::new();
    for event in page.events {
        let of_one = so_far.entry(event.aggregate_id).or_default();
        let repeated = if rng.random_bool(0.3) { of_one.choose(rng).cloned() } else { None };
        for mut event in
            repeated.into_iter().map(|event| Recorded { event_id: EventId::generate(), ..event }).chain([event])
        {
            event.version = Version(of_one.len() as i32 + 1);
            of_one.push(event.clone());
            events.push(event);
        }
    }
    events
}

/// What a history of this many events says of users.
async fn of_users(events: usize) -> (Parts, Vec<Recorded<<UserDirectory as Projection>::Event>>) {
    let mut rng = seeded();
    let (parts, _) = Parts::with_history(rng.random(), events).await;
    let events = again(&parts, &mut rng).await;
    let decoded = events.iter().filter_map(|event| event.decode().ok()?).collect();
    (parts, decoded)
}

async fn law<P: Projection>(parts: &Parts, events: &[Recorded<Payload>], rng: &mut StdRng) {
    let decoded: Vec<_> = events.iter().filter_map(|event| event.decode::<P::Event>().ok()?).collect();
    assert!(decoded.len() > 20, "{} events for {}", decoded.len(), P::NAME);
    let mut db = parts.database.pool.acquire().await.unwrap();
    let times = if full_size() { 100 } else { 6 };
    any_cut::<P>(&mut db, &decoded, times, rng.random()).await.unwrap();
    any_order::<P>(&mut db, &decoded, times / 3, rng.random()).await.unwrap();
}

#[tokio::test]
async fn however_a_history_is_cut_into_batches_the_rows_and_the_poison_are_the_same() {
    let mut rng = seeded();
    let (parts, _) = Parts::with_history(rng.random(), if full_size() { 3000 } else { 1200 }).await;
    let events = again(&parts, &mut rng).await;
    law::<Vocabulary>(&parts, &events, &mut rng).await;
    law::<LearnerProgress>(&parts, &events, &mut rng).await;
    law::<LearnerJourneys>(&parts, &events, &mut rng).await;
    law::<UserDirectory>(&parts, &events, &mut rng).await;
    law::<LearningTime>(&parts, &events, &mut rng).await;
}

/// The user directory, with statements for other tables than it has.
struct Misfit;

impl Projection for Misfit {
    const NAME: &'static str = "misfit";
    const VERSION: u32 = 1;
    const TABLES: &'static str = "create table users (user_id uuid primary key)";
    type Event = <UserDirectory as Projection>::Event;
    type Changes = <UserDirectory as Projection>::Changes;

    fn fold(changes: &mut Self::Changes, event: &Recorded<Self::Event>) {
        UserDirectory::fold(changes, event);
    }

    async fn write(changes: Self::Changes, db: &mut PgConnection) -> Result<(), read_model::Error> {
        UserDirectory::write(changes, db).await
    }
}

/// Who was seen last: in whatever order the events of two users come.
struct Latest;

impl Projection for Latest {
    const NAME: &'static str = "latest";
    const VERSION: u32 = 1;
    const TABLES: &'static str = "create table latest (t boolean primary key, live uuid not null)";
    type Event = <UserDirectory as Projection>::Event;
    type Changes = Option<Uuid>;

    fn fold(changes: &mut Self::Changes, event: &Recorded<Self::Event>) {
        *changes = Some(event.aggregate_id.0);
    }

    async fn write(changes: Self::Changes, db: &mut PgConnection) -> Result<(), read_model::Error> {
        sqlx::query("insert into latest values (true, $1) on conflict (t) do update set live = excluded.live")
            .bind(changes)
            .execute(db)
            .await?;
        Ok(())
    }
}

/// It forgets that a row may be there from an earlier batch.
struct Forgetful;

impl Projection for Forgetful {
    const NAME: &'static str = "forgetful";
    const VERSION: u32 = 1;
    const TABLES: &'static str = "create table seen (user_id uuid primary key)";
    type Event = <UserDirectory as Projection>::Event;
    type Changes = BTreeSet<Uuid>;

    fn fold(changes: &mut Self::Changes, event: &Recorded<Self::Event>) {
        changes.insert(event.aggregate_id.0);
    }

    async fn write(changes: Self::Changes, db: &mut PgConnection) -> Result<(), read_model::Error> {
        let users: Vec<_> = changes.into_iter().collect();
        sqlx::query("insert into seen select * from unnest($1::uuid[])").bind(users).execute(db).await?;
        Ok(())
    }
}

#[tokio::test]
async fn a_key_that_is_there_from_an_earlier_batch_is_told_with_what_postgres_says_and_what_is_wanted() {
    let (parts, decoded) = of_users(200).await;
    let mut db = parts.database.pool.acquire().await.unwrap();
    let broken = AssertUnwindSafe(any_cut::<Forgetful>(&mut db, &decoded, 1, 7)).catch_unwind().await;
    let said = broken.expect_err("one by one each second event of a user is refused");
    let said = said.downcast_ref::<String>().unwrap();
    assert!(said.contains("duplicate key value violates unique constraint \"seen_pkey\" (SQLSTATE 23505)"), "{said}");
    assert!(said.ends_with("an insert wants `on conflict … do update`"), "{said}");
}

/// It sets something for its session, which is another read model's next.
struct Careless;

impl Projection for Careless {
    const NAME: &'static str = "careless";
    const VERSION: u32 = 1;
    const TABLES: &'static str = "create table nothing (id int primary key)";
    type Event = <UserDirectory as Projection>::Event;
    type Changes = ();

    fn fold((): &mut Self::Changes, _: &Recorded<Self::Event>) {}

    async fn write((): Self::Changes, db: &mut PgConnection) -> Result<(), read_model::Error> {
        sqlx::query("set time zone 'Pacific/Auckland'").execute(&mut *db).await?;
        sqlx::query("set local statement_timeout = '5s'").execute(db).await?;
        Ok(())
    }
}

#[tokio::test]
async fn what_a_write_sets_for_its_session_is_named() {
    let (parts, decoded) = of_users(200).await;
    let mut db = parts.database.pool.acquire().await.unwrap();
    let error = any_cut::<Careless>(&mut db, &decoded, 1, 7).await.expect_err("it does not pass").to_string();
    assert!(error.contains("careless: a write has set TimeZone for the whole session"), "{error}");
    db.close().await.unwrap();
}

/// It ends its transaction.
struct Hasty;

impl Projection for Hasty {
    const NAME: &'static str = "hasty";
    const VERSION: u32 = 1;
    const TABLES: &'static str = "create table nothing (id int primary key)";
    type Event = <UserDirectory as Projection>::Event;
    type Changes = ();

    fn fold((): &mut Self::Changes, _: &Recorded<Self::Event>) {}

    async fn write((): Self::Changes, db: &mut PgConnection) -> Result<(), read_model::Error> {
        sqlx::query("commit").execute(db).await?;
        Ok(())
    }
}

#[tokio::test]
async fn a_write_that_ends_its_transaction_is_named() {
    let (parts, decoded) = of_users(200).await;
    let mut db = parts.database.pool.acquire().await.unwrap();
    let error = any_cut::<Hasty>(&mut db, &decoded, 1, 7).await.expect_err("it does not pass").to_string();
    assert!(error.contains("hasty: a write has ended its transaction"), "{error}");
    db.close().await.unwrap();
}

/// It takes nobody whose id begins with a zero.
struct Choosy;

impl Projection for Choosy {
    const NAME: &'static str = "choosy";
    const VERSION: u32 = 1;
    const TABLES: &'static str = "create table taken (user_id uuid primary key)";
    type Event = <UserDirectory as Projection>::Event;
    type Changes = BTreeSet<Uuid>;

    fn fold(changes: &mut Self::Changes, event: &Recorded<Self::Event>) {
        changes.insert(event.aggregate_id.0);
    }

    async fn write(changes: Self::Changes, db: &mut PgConnection) -> Result<(), read_model::Error> {
        if changes.iter().any(|user| refused(*user)) {
            return Err(read_model::Error::Refused("nobody with a zero".to_owned()));
        }
        sqlx::query("insert into taken select * from unnest($1::uuid[]) on conflict do nothing")
            .bind(changes.into_iter().collect::<Vec<_>>())
            .execute(db)
            .await?;
        Ok(())
    }
}

fn refused(user: Uuid) -> bool {
    user.as_bytes()[15] < 64
}

#[tokio::test]
async fn what_an_author_refuses_is_parked_alone_and_what_comes_last_across_aggregates_is_no_law() {
    let (parts, decoded) = of_users(1200).await;
    let mut db = parts.database.pool.acquire().await.unwrap();
    let generation = Generation::<Choosy>::create(&mut db).await.unwrap();
    let parked = generation.settle(&mut db, &decoded, &[50]).await.unwrap();
    let of_refused: Vec<_> = decoded.iter().filter(|event| refused(event.aggregate_id.0)).collect();
    let users: BTreeSet<_> = of_refused.iter().map(|event| event.aggregate_id).collect();
    assert!(!users.is_empty() && parked.len() == users.len(), "the first event of each of them, and the others wait");
    let taken = generation.rows(&mut db, "taken").await.unwrap();
    let all: BTreeSet<_> = decoded.iter().map(|event| event.aggregate_id).collect();
    assert_eq!(taken.len() + users.len(), all.len());

    any_cut::<Latest>(&mut db, &decoded, 3, 7).await.unwrap();
    let broken = AssertUnwindSafe(any_order::<Latest>(&mut db, &decoded, 1, 7)).catch_unwind().await;
    let said = broken.expect_err("the last one is not always the same");
    let said = said.downcast_ref::<String>().unwrap();
    let expected = "latest: in another order across aggregates (seed 7) a row of latest differs from that in the order of the history: \
                    live is ";
    assert!(said.starts_with(expected), "{said}");
}

#[tokio::test]
async fn a_read_model_that_does_not_fit_its_tables_does_not_pass_for_one_that_parks_everything() {
    let (parts, decoded) = of_users(200).await;
    let mut db = parts.database.pool.acquire().await.unwrap();
    let error = any_cut::<Misfit>(&mut db, &decoded, 1, 7).await.expect_err("no statement of it can work").to_string();
    assert!(error.contains("does not exist"), "{error}");
}

/// Its row is that of the first start, and what was judged before the second stays judged; each start counts for the first
/// one's user.
#[tokio::test]
async fn a_session_that_starts_again_stays_what_it_was() {
    for batch in [1, 10] {
        let parts = Parts::new().await;
        let [session, ada, ben, item] = [(); 4].map(|()| Uuid::now_v7());
        let started = |user: Uuid, strategy: &str| json!({"session_id": session, "user_id": user, "item_count": 3, "strategy": strategy});
        let judged = json!({
            "session_id": session, "item_id": item, "judgment": "auto_confirmed", "response_time_ms": 5
        });
        let history = [
            ("SessionStarted", started(ada, "mixed")),
            ("CorrectnessJudged", judged.clone()),
            ("SessionStarted", started(ben, "weak_items_first")),
            ("CorrectnessJudged", judged),
        ];
        for (version, (event_type, data)) in (0..).zip(history) {
            parts.load(&[line("LearningSession", session, version, event_type, &data)]).await;
        }
        for events in parts.events(Position::START).await.chunks(batch) {
            parts.apply(events, Mode::Live).await.unwrap();
        }
        let rows: Vec<(Uuid, String, i32, i32)> = sqlx::query_as(
            "select user_id, strategy, judged, sessions_started
             from learner_progress.learning_sessions join learner_progress.user_progress using (user_id)",
        )
        .fetch_all(&parts.database.pool)
        .await
        .unwrap();
        assert_eq!(rows, [(ada, "mixed".to_owned(), 2, 2)], "in batches of {batch}");
        let steps: Vec<Vec<String>> = sqlx::query_scalar("select steps from learner_journeys.learner_journeys")
            .fetch_all(&parts.database.pool)
            .await
            .unwrap();
        assert_eq!(steps, [["started:mixed", "auto", "auto"]]);
        parts.converge(&Held::default()).await;
    }
}
