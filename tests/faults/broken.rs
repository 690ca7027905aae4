//! What is stored of an event is broken, and the workers meet it: in a batch, before an early event, in a sweep, behind a
//! dead letter, in a repair. It is parked, it holds its aggregate, and its neighbours go on.

use std::sync::Arc;

use events::Position;
use projections::topics::INTEGRATION;
use serde_json::json;
use sqlx::{Executor, PgPool};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::apply::Mode;
use workers::audit::Attribution;
use workers::redrive::Redrive;
use workers::replay::{self, NewReplay, Replays};
use workers::verdict::Event;
use workers::{dead_letters, operations};

use super::answers::{Answers, delivered, worker};
use crate::harness::eventually;
use crate::harness::parts::{LIMIT, Parts, apply, line};

/// What a torn disk leaves of large events: their data is gone, and their size is known. The server does not delete these
/// rows unless they seem to be a table's.
pub async fn lose_stored_bytes(pool: &PgPool) {
    let lose = "set allow_system_table_mods = on;
        do $$
        declare
            toast oid := (select reltoastrelid from pg_class where oid = 'events'::regclass);
        begin
            update pg_class set relkind = 'r' where oid = toast;
            execute 'delete from ' || toast::regclass;
            update pg_class set relkind = 't' where oid = toast;
        end $$;";
    let mut db = pool.acquire().await.unwrap();
    sqlx::raw_sql(lose).execute(&mut *db).await.unwrap();
    sqlx::raw_sql("reset allow_system_table_mods").execute(&mut *db).await.unwrap();
    drop(db);
    eventually("its bytes are gone", LIMIT, async || {
        sqlx::raw_sql("vacuum events").execute(pool).await.unwrap();
        match sqlx::query("select event_data::text from events").fetch_all(pool).await {
            Ok(_) => Err("it is there".to_owned()),
            Err(_) => Ok(()),
        }
    })
    .await;
}

/// Four users of three events each; the second event of the second user is large, and will be broken.
struct Users {
    parts: Parts,
    events: Vec<Event>,
}

impl Users {
    async fn new() -> Self {
        let parts = Parts::new().await;
        for number in 0..4 {
            let user = Uuid::now_v7();
            let name =
                json!({"user_id": user, "email": format!("{number}@example.org"), "first_name": "A", "last_name": "B"});
            parts.load(&[line("User", user, 0, "UserSignedUp", &name)]).await;
            for version in 1..3 {
                let email = if (number, version) == (1, 1) {
                    (0..400).map(|_| Uuid::new_v4().to_string()).collect()
                } else {
                    format!("{number}.{version}@example.org")
                };
                let data = json!({"user_id": user, "email": email});
                parts.load(&[line("User", user, version, "UserEmailUpdated", &data)]).await;
            }
        }
        let events = parts.events(Position::START).await;
        Self { parts, events }
    }

    async fn broken() -> Self {
        let users = Self::new().await;
        lose_stored_bytes(&users.parts.database.pool).await;
        users
    }

    /// It is parked, with the words of Postgres, and all else is applied that can be.
    async fn are_applied(&self) {
        let database = &self.parts.database;
        let parked = "select count(*) from parked_events
            where projection = 'user_directory' and reason = 'unreadable' and error like '%XX001%' and position = 5";
        eventually("it is parked", LIMIT, async || match database.count(parked).await {
            1 => Ok(()),
            _ => Err("not yet".to_owned()),
        })
        .await;
        let applied = "select count(*) from user_directory.users where email ~ '^[0-9].2@' and version = 3";
        eventually("the others are applied", LIMIT, async || match database.count(applied).await {
            3 => Ok(()),
            users => Err(format!("{users}")),
        })
        .await;
        let held = "select count(*) from user_directory.users where email = '1@example.org' and version = 1";
        assert_eq!(database.count(held).await, 1, "what came before it is applied");
        assert_eq!(database.count("select count(*) from parked_events").await, 1, "and nothing else is parked");
    }
}

#[tokio::test]
async fn a_batch_of_messages_that_speaks_of_a_broken_event_is_applied_without_it() {
    let users = Users::new().await;
    let answers = Arc::new(Answers::default());
    let (count, sender, deliveries) = delivered(&users.parts, &INTEGRATION, &answers).await;
    lose_stored_bytes(&users.parts.database.pool).await;
    let stop = CancellationToken::new();
    let working = worker(&users.parts, &INTEGRATION).run(Vec::new(), deliveries, sender, stop.clone());
    let working = tokio::spawn(working);
    eventually("all is settled", LIMIT, async || match answers.of() {
        (acked, 0) if acked == count => Ok(()),
        other => Err(format!("{other:?} of {count}")),
    })
    .await;
    users.are_applied().await;
    stop.cancel();
    working.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_broken_event_before_an_early_one_is_parked_and_what_is_missing_elsewhere_is_healed() {
    let users = Users::broken().await;
    let last: Vec<Event> = users.events.iter().filter(|event| event.version.0 == 3).cloned().collect();
    let tally = apply(users.parts.applier("user_directory"), &last, Mode::Live).await.unwrap();
    assert_eq!((tally.applied, tally.parked, tally.held), (10, 1, 1), "{tally:?}");
    users.are_applied().await;
}

#[tokio::test]
async fn a_sweep_that_meets_a_broken_event_settles_it_and_goes_on() {
    let users = Users::broken().await;
    users.parts.sweep().await;
    users.are_applied().await;
}

#[tokio::test]
async fn a_redrive_that_meets_a_broken_event_parks_it_where_it_is() {
    let users = Users::new().await;
    let (parts, pool) = (&users.parts, &users.parts.database.pool);
    let applier = parts.applier("user_directory");
    pool.execute("alter table user_directory.users add constraint no_ones check (email not like '1@%')").await.unwrap();
    for event in users.events.chunks(1) {
        apply(applier, event, Mode::Live).await.unwrap();
    }
    pool.execute("alter table user_directory.users drop constraint no_ones").await.unwrap();
    lose_stored_bytes(pool).await;
    let parked = dead_letters::list(pool, &dead_letters::Filter::default(), None, 10).await.unwrap();
    assert_eq!(parked.iter().map(|letter| letter.event_version).collect::<Vec<_>>(), [Some(1)]);
    let by = Attribution { actor: "test".into(), reason: "test".into() };
    let operation = dead_letters::retry_one(pool, parked[0].id, 1000.0, None, &by, None).await.unwrap();
    let stop = CancellationToken::new();
    let redriving = tokio::spawn(Redrive { applier: applier.clone() }.run(stop.clone()));
    eventually("the redrive is done, and says that it parked something", LIMIT, async || {
        let operation = operations::get(pool, operation).await.unwrap().unwrap();
        if operation.state == operations::State::Failed { Ok(()) } else { Err(format!("{operation:?}")) }
    })
    .await;
    users.are_applied().await;
    stop.cancel();
    redriving.await.unwrap();
}

#[tokio::test]
async fn a_repair_that_meets_a_broken_event_parks_it_and_goes_on() {
    let users = Users::broken().await;
    let (parts, pool) = (&users.parts, &users.parts.database.pool);
    let applier = parts.applier("user_directory");
    let selection = serde_json::from_str("{}").unwrap();
    let plan = replay::plan(pool, applier.projection, &selection).await.unwrap();
    let new = NewReplay { selection, rate: None, by: Attribution::default(), idempotency_key: None };
    let operation = replay::create(pool, applier.projection, plan, &new).await.unwrap();
    let stop = CancellationToken::new();
    let replaying = tokio::spawn(Replays::of(&parts.appliers).run(stop.clone()));
    eventually("the repair is done", LIMIT, async || {
        let operation = operations::get(pool, operation).await.unwrap().unwrap();
        if operation.state == operations::State::Succeeded { Ok(()) } else { Err(format!("{operation:?}")) }
    })
    .await;
    users.are_applied().await;
    stop.cancel();
    replaying.await.unwrap();
}
