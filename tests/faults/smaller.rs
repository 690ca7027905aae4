//! What is too much for one transaction goes on with less: repairs, redrives, and what a batch of messages speaks of.

use event_store::read::BUDGET;
use events::{EventId, Position};
use projections::topics::INTEGRATION;
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::apply::Mode;
use workers::audit::Attribution;
use workers::redrive::Redrive;
use workers::replay::{self, NewReplay, Replays};
use workers::{dead_letters, operations};

use super::answers::worker;
use super::batches::{user, users};
use crate::harness::eventually;
use crate::harness::parts::{LIMIT, Parts, apply, line};
use crate::oracle::Held;

/// Lets Postgres fail with this SQLSTATE where one transaction applies more events than this.
async fn at_most(parts: &Parts, events: u32, code: &str) {
    let sql = format!(
        "create function refuse() returns trigger language plpgsql as $$
         begin
             if (select count(*) from written) > {events} then raise exception 'a fault' using errcode = '{code}'; end if;
             return null;
         end $$;
         create trigger refuse after insert on processed_event_ids
         referencing new table as written for each statement execute function refuse()"
    );
    parts.database.pool.execute(AssertSqlSafe(sql)).await.unwrap();
}

/// Each transaction has an id of its own, by which the rows that it wrote can be told.
const LARGEST: &str =
    "select max(count) from (select count(*) from processed_event_ids group by xmin::text) as written";
const PARKED: &str = "select count(*) from parked_events";

async fn succeeded(parts: &Parts, operation: Uuid) {
    eventually("the operation succeeds", LIMIT, async || {
        let operation = operations::get(&parts.database.pool, operation).await.unwrap().unwrap();
        if operation.state == operations::State::Succeeded { Ok(()) } else { Err(format!("{operation:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_repair_whose_batches_are_too_much_goes_on_with_smaller_ones() {
    for code in ["57014", "53200"] {
        let parts = Parts::new().await;
        let count = users(&parts, 200).await.len() as i64;
        at_most(&parts, 10, code).await;
        let applier = parts.applier("user_directory");
        let (pool, selection) = (&parts.database.pool, serde_json::from_str("{}").unwrap());
        let plan = replay::plan(pool, applier.projection, &selection).await.unwrap();
        let new = NewReplay { selection, rate: None, by: Attribution::default(), idempotency_key: None };
        let operation = replay::create(pool, applier.projection, plan, &new).await.unwrap();
        let stop = CancellationToken::new();
        let replaying = tokio::spawn(Replays::of(&parts.appliers).run(stop.clone()));
        succeeded(&parts, operation).await;
        stop.cancel();
        replaying.await.unwrap();
        let done = operations::get(pool, operation).await.unwrap().unwrap();
        assert_eq!((done.seen, done.applied, parts.database.count(PARKED).await), (count, count, 0), "{code}");
        let largest = parts.database.count(LARGEST).await;
        assert!((2..=10).contains(&largest), "{code}: {largest} events in one transaction");
        parts.converge(&Held::default()).await;
    }
}

#[tokio::test]
async fn a_redrive_whose_steps_are_too_much_goes_on_with_smaller_ones() {
    for code in ["57014", "53200"] {
        let parts = Parts::new().await;
        let (applier, pool) = (parts.applier("user_directory"), &parts.database.pool);
        user(&parts, 150).await;
        pool.execute("alter table user_directory.users add constraint nobody check (false) not valid").await.unwrap();
        apply(applier, &parts.events(Position::START).await, Mode::Live).await.unwrap();
        pool.execute("alter table user_directory.users drop constraint nobody").await.unwrap();
        at_most(&parts, 10, code).await;
        let letter = dead_letters::list(pool, &dead_letters::Filter::default(), None, 10).await.unwrap().remove(0);
        let operation =
            dead_letters::retry_one(pool, letter.id, 1e6, None, &Attribution::default(), None).await.unwrap();
        let stop = CancellationToken::new();
        let redriving = tokio::spawn(Redrive { applier: applier.clone() }.run(stop.clone()));
        succeeded(&parts, operation).await;
        stop.cancel();
        redriving.await.unwrap();
        assert_eq!(parts.database.count("select version::bigint from user_directory.users").await, 150, "{code}");
        assert_eq!(parts.database.count(PARKED).await, 0, "{code}");
        let largest = parts.database.count(LARGEST).await;
        assert!((2..=10).contains(&largest), "{code}: {largest} events in one transaction");
        parts.converge(&Held::default()).await;
    }
}

#[tokio::test]
async fn what_messages_speak_of_is_held_one_answer_at_a_time_also_when_fewer_are_asked_for() {
    let parts = Parts::new().await;
    for _ in 0..10 {
        let data =
            json!({"user_id": Uuid::now_v7(), "email": "x".repeat(4_000_000), "first_name": "A", "last_name": "B"});
        parts.load(&[line("User", Uuid::now_v7(), 0, "UserSignedUp", &data)]).await;
    }
    // Looking at the sizes of so many takes too long, once.
    let slow = "begin;
        set local session_replication_role = replica;
        update events set data_bytes = null;
        commit;
        create sequence looked;
        alter function event_bytes rename to event_bytes_at_once;
        create function event_bytes(bigint, jsonb, jsonb) returns integer language plpgsql as $$
        begin
            if nextval('looked') = 6 then raise exception 'a fault' using errcode = '57014'; end if;
            return event_bytes_at_once($1, $2, $3);
        end $$";
    sqlx::raw_sql(slow).execute(&parts.database.pool).await.unwrap();
    let ids: Vec<Uuid> = sqlx::query_scalar("select event_id from events order by position")
        .fetch_all(&parts.database.pool)
        .await
        .unwrap();
    let ids: Vec<EventId> = ids.into_iter().map(EventId).collect();
    let resolver = worker(&parts, &INTEGRATION).resolver;
    let (mut rest, mut answers) = (ids.clone(), Vec::new());
    let mut found = Vec::new();
    while !rest.is_empty() {
        let part = resolver.part(&rest).await.unwrap();
        let bytes: usize = part.events.iter().map(|event| event.data.event_data.get().len()).sum();
        assert!(bytes as i64 <= BUDGET, "{bytes} bytes at once");
        answers.push(part.events.len());
        found.extend(part.events.iter().map(|event| event.event_id));
        rest = part.rest;
    }
    assert_eq!(answers.iter().max(), Some(&4), "16 MiB hold four of them: {answers:?}");
    found.sort_unstable();
    let mut ids = ids;
    ids.sort_unstable();
    assert_eq!(found, ids, "each came once");
}
