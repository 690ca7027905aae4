//! What must not become slower as the store grows, as requests repeat, or while somebody holds a snapshot. Where a claim is
//! about speed, the test compares two things of one run, or counts what was read.

use std::time::{Duration, Instant};

use event_store::append::Error;
use events::{AppendLine, Position};
use rand::Rng;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::audit::Attribution;
use workers::operations;
use workers::replay::{self, NewReplay, Replays, Selection};

use crate::harness::parts::{LIMIT, Parts, line, request};
use crate::harness::{Database, catalogue, eventually, full_size};
use crate::plans::{Pool, assert_explained_as, fill};
use crate::sample::seeded;

pub fn user(aggregate: Uuid, version: i32) -> AppendLine {
    let data = json!({"user_id": aggregate, "email": "a@example.org", "first_name": "A", "last_name": "B"});
    line("User", aggregate, version, "UserSignedUp", &data)
}

fn keyed(key: String) -> AppendLine {
    AppendLine { idempotency_key: Some(key), expected_version: None, ..user(Uuid::now_v7(), 0) }
}

pub async fn number(pool: &PgPool, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn keyed_requests_that_are_sent_again_are_answered_without_writing() {
    let parts = Parts::new().await;
    // Each attempt to write begins at the head. A sequence counts what is rolled back, too.
    let count = "create sequence writes;
                 create function counted() returns trigger language plpgsql as
                 $$begin perform nextval('writes'); return null; end$$;
                 create trigger count before update on event_store_head for each statement execute function counted();";
    sqlx::raw_sql(count).execute(&parts.database.pool).await.unwrap();
    let requests = if full_size() { 30_000 } else { 4000 };
    let lines: Vec<_> = (0..requests).map(|number| keyed(format!("import-{number}"))).collect();
    let started = Instant::now();
    parts.load(&lines).await;
    let first = started.elapsed();
    let writes = "select last_value from writes";
    let before = parts.database.count(writes).await;
    let started = Instant::now();
    parts.load(&lines).await;
    let again = started.elapsed();
    println!("{requests} keyed requests: {first:?}, and again: {again:?}");
    // The first batch is written and refused, before the writer has noticed.
    let more = parts.database.count(writes).await - before;
    println!("the head was written {before} times, and then {more} times more");
    assert!(more <= before / 4, "the head was written {more} times more, after {before} the first time, for nothing");
    assert_eq!(parts.database.head().await, Position(requests));
    assert!(again < first.mul_f64(1.5) + Duration::from_secs(1), "first {first:?}, again {again:?}");
    // New requests between repeated ones are written, and a new file is written as before.
    let mixed: Vec<_> = (0..800).map(|number| keyed(format!("import-{}", requests - 400 + number))).collect();
    let page: Vec<_> = mixed.iter().map(request).collect();
    let mut answers = Vec::new();
    for append in &page {
        answers.push(parts.appender.enqueue(append.clone()).await.unwrap());
    }
    let mut reused = 0;
    for answer in answers {
        match answer.await.unwrap() {
            Ok(_) => {}
            Err(Error::KeyReused(_)) => reused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((reused, parts.database.head().await), (400, Position(requests + 400)));
}

/// Right after a restart nobody has the epoch, so that all of it happens under the head row's lock.
#[tokio::test]
async fn a_store_that_restarts_under_callers_with_used_keys_keeps_nobody_waiting() {
    let database = Database::new().await;
    let events = if full_size() { 3_000_000 } else { 30_000 };
    fill(&database, events).await;
    let url = database.url.clone();
    let parts = Parts::reaching(database, &url);
    let neighbours = tokio::spawn({
        let appender = parts.appender.clone();
        async move {
            let mut slowest = Duration::ZERO;
            for _ in 0..50 {
                let started = Instant::now();
                appender.append(request(&user(Uuid::now_v7(), 0))).await.unwrap();
                slowest = slowest.max(started.elapsed());
            }
            slowest
        }
    });
    let started = Instant::now();
    let mut answers = Vec::new();
    for number in 0..512 {
        let key = format!("key-{}", 1 + number * (events / 3 - 1) / 512);
        answers.push(parts.appender.enqueue(request(&keyed(key))).await.unwrap());
    }
    for answer in answers {
        // The keys were used by other requests. That, too, is known only by looking them up.
        assert!(matches!(answer.await.unwrap(), Err(Error::KeyReused(_))));
    }
    let (answered, slowest) = (started.elapsed(), neighbours.await.unwrap());
    println!("512 used keys at {events} events: {answered:?}; the slowest neighbour: {slowest:?}");
    assert!(answered < Duration::from_secs(10) && slowest < Duration::from_secs(10), "{answered:?} {slowest:?}");
}

#[tokio::test]
async fn a_repair_of_one_aggregate_or_of_ten_minutes_leaves_the_rest_of_the_store_alone() {
    let database = Database::new().await;
    let events = if full_size() { 3_000_000 } else { 150_000 };
    fill(&database, events).await;
    let url = database.url.clone();
    let parts = Parts::reaching(database, &url);
    let pool = &parts.database.pool;
    let applier = parts.applier("vocabulary");
    let unsettled = "select event.aggregate_id from events as event
                     join projected_aggregates as known using (aggregate_id)
                     where event.event_version = 1 and event.aggregate_type = 'VocabularyItem'
                     and known.projection = 'vocabulary' and known.version = 0 and not known.held
                     offset $1 limit 1";
    let one: Uuid =
        sqlx::query_scalar(unsettled).bind(seeded().random_range(0..500_i64)).fetch_one(pool).await.unwrap();
    let from: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar("select occurred_at from events where position = $1 / 2")
            .bind(events as i64)
            .fetch_one(pool)
            .await
            .unwrap();
    let minutes = json!({"from": from, "to": from + chrono::Duration::minutes(10)});
    for (selection, selected) in [(json!({"aggregates": [one]}), 3..=3), (json!({"times": minutes}), 100..=200)] {
        let selection: Selection = serde_json::from_value(selection).unwrap();
        let plan = replay::plan(pool, applier.projection, &selection).await.unwrap();
        assert!(selected.contains(&plan.selected), "{plan:?}");
        assert!(plan.unsettled > 0 && plan.unsettled <= plan.selected, "{plan:?}");
        let new = NewReplay { selection, rate: None, by: Attribution::default(), idempotency_key: None };
        let id = replay::create(pool, applier.projection, plan, &new).await.unwrap();
        let runner = Parts::reaching(Database::existing(&url), &url);
        let read = "select coalesce(sum(idx_tup_fetch + seq_tup_read), 0)::bigint from pg_stat_user_tables where relname = 'events'";
        let before = parts.database.count(read).await;
        let stop = CancellationToken::new();
        let running = tokio::spawn(Replays::of(&runner.appliers).run(stop.clone()));
        let done = eventually("it succeeds", LIMIT, async || {
            let operation = operations::get(pool, id).await.unwrap().unwrap();
            if operation.state == operations::State::Succeeded { Ok(operation) } else { Err(format!("{operation:?}")) }
        })
        .await;
        stop.cancel();
        running.await.unwrap();
        assert_explained_as(Pool::Applying, &runner.appliers[0].pool).await;
        assert_explained_as(Pool::Plain, pool).await;
        runner.appliers[0].pool.close().await;
        assert_eq!((done.seen, done.position), (plan.selected, done.last_position));
        let read = eventually("the statistics have come", LIMIT, async || {
            let read = parts.database.count(read).await - before;
            if read > 0 { Ok(read) } else { Err(format!("{read}")) }
        })
        .await;
        assert!(read < 5000, "{read} rows of {events} were read for {} events", plan.selected);
        let again = replay::plan(pool, applier.projection, &new.selection).await.unwrap();
        assert_eq!(again.unsettled, 0);
    }
}

/// More events than an index is followed for. One of them was recorded long before the time at which it says that it occurred.
#[tokio::test]
async fn a_repair_of_a_long_time_goes_from_its_first_event_to_its_last() {
    let database = Database::new().await;
    fill(&database, 150_000).await;
    let pool = &database.pool;
    let times = "select occurred_at from events where position in (20001, 130001) order by 1";
    let times: Vec<chrono::DateTime<chrono::Utc>> = sqlx::query_scalar(times).fetch_all(pool).await.unwrap();
    let selection = json!({"times": {"from": times[0], "to": times[1]}});
    let selection: Selection = serde_json::from_value(selection).unwrap();
    let vocabulary = catalogue().projection("vocabulary").unwrap();
    let plan = replay::plan(pool, vocabulary, &selection).await.unwrap();
    assert_eq!((plan.first_position, plan.last_position, plan.more), (20_001, 130_000, false));
    assert!(plan.selected > 40_000 && plan.unsettled > 0, "{plan:?}");
    let new = NewReplay { selection: selection.clone(), rate: None, by: Attribution::default(), idempotency_key: None };
    let id = replay::create(pool, vocabulary, plan, &new).await.unwrap();
    let operation = operations::get(pool, id).await.unwrap().unwrap();
    assert_eq!((operation.position, operation.last_position), (Some(20_000), Some(130_000)), "no other is read");

    let early = "begin;
        set local session_replication_role = replica;
        update events set occurred_at = (select occurred_at from events where position = 50000) where position = 7;
        commit";
    sqlx::raw_sql(early).execute(pool).await.unwrap();
    let plan = replay::plan(pool, vocabulary, &selection).await.unwrap();
    assert_eq!((plan.first_position, plan.last_position), (7, 130_000), "none is missed");
    let nothing = json!({"times": {"from": "1990-01-01T00:00:00Z", "to": "1991-01-01T00:00:00Z"}});
    let plan = replay::plan(pool, vocabulary, &serde_json::from_value(nothing).unwrap()).await.unwrap();
    assert_eq!((plan.selected, plan.more), (0, false));
}
