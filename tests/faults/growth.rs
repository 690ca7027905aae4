//! What must not become slower as the store grows, as requests repeat, or while somebody holds a snapshot. Where a claim is
//! about speed, the test compares two things of one run, or counts what was read.

use std::cell::Cell;
use std::time::{Duration, Instant};

use event_store::append::{Append, Appender, Config, Error};
use event_store::read;
use event_store::tail::Head;
use event_store::{Metrics as StoreMetrics, database};
use events::{AggregateId, AppendLine, Position, Version};
use prometheus::Registry;
use rand::Rng;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool, Row};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::audit::By;
use workers::lag::Measurer;
use workers::operations;
use workers::replay::{self, NewReplay, Replays, Selection};

use crate::harness::parts::{LIMIT, Parts, line, request};
use crate::harness::proxy::{Proxy, Weather};
use crate::harness::{Database, catalogue, eventually, full_size};
use crate::plans::fill;
use crate::sample::seeded;

fn user(aggregate: Uuid, version: i32) -> AppendLine {
    let data = json!({"user_id": aggregate, "email": "a@example.org", "first_name": "A", "last_name": "B"});
    line("User", aggregate, version, "UserSignedUp", &data)
}

fn keyed(key: String) -> AppendLine {
    AppendLine { idempotency_key: Some(key), ..user(Uuid::now_v7(), 0) }
}

/// A writer of its own, of which an attempt takes at most so long.
fn writer(url: &str, attempt: Duration) -> (Appender, tokio::task::JoinHandle<()>) {
    let config = Config { attempt, patience: Duration::ZERO, ..Config::new(database::options(url).unwrap()) };
    Appender::start(config, Head::default(), StoreMetrics::register(&Registry::new()).unwrap())
}

async fn number(pool: &PgPool, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn keyed_requests_that_are_sent_again_are_answered_without_writing() {
    let parts = Parts::new().await;
    let requests = if full_size() { 30_000 } else { 4000 };
    let lines: Vec<_> = (0..requests).map(|number| keyed(format!("import-{number}"))).collect();
    let started = Instant::now();
    parts.load(&lines).await;
    let first = started.elapsed();
    let size = "select pg_relation_size('events')";
    let before = parts.database.count(size).await;
    let started = Instant::now();
    parts.load(&lines).await;
    let again = started.elapsed();
    println!("{requests} keyed requests: {first:?}, and again: {again:?}");
    // What is written and then refused stays behind as dead rows: of the first batch, before the writer has noticed.
    let grown = parts.database.count(size).await - before;
    assert!(grown <= before / 4, "the table grew by {grown} of {before} bytes, for nothing");
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

/// An insert that takes a minute, for an event of the type `Slow`.
async fn slow_events(pool: &PgPool) {
    let sql = "create function slow() returns trigger language plpgsql as
               $$begin if new.event_type = 'Slow' then perform pg_sleep(60); end if; return new; end$$;
               create trigger slow before insert on events for each row execute function slow();";
    sqlx::raw_sql(sql).execute(pool).await.unwrap();
}

async fn slow_statement_runs(database: &Database) {
    eventually("the slow append is under way", LIMIT, async || {
        let running = "select count(*) from pg_stat_activity
                       where datname = current_database() and wait_event = 'PgSleep'";
        if database.count(running).await == 1 { Ok(()) } else { Err("it is not".to_owned()) }
    })
    .await;
}

fn slow() -> Append {
    request(&line("User", Uuid::now_v7(), 0, "Slow", &json!({})))
}

/// How long a neighbour waits that appends now.
async fn neighbour(parts: &Parts) -> Duration {
    let started = Instant::now();
    parts.append(&user(Uuid::now_v7(), 0)).await.unwrap();
    started.elapsed()
}

#[tokio::test]
async fn an_attempt_that_is_given_up_ends_on_the_server_too() {
    let parts = Parts::new().await;
    slow_events(&parts.database.pool).await;
    let (appender, _writer) = writer(&parts.database.url, Duration::from_secs(4));
    let given_up = tokio::spawn(async move { appender.append(slow()).await });
    slow_statement_runs(&parts.database).await;
    let waited = neighbour(&parts).await;
    assert!(matches!(given_up.await.unwrap(), Err(Error::Unavailable(_))));
    assert!(
        waited < Duration::from_secs(30),
        "the neighbour waited {waited:?} for the minute of somebody who was gone"
    );
}

#[tokio::test]
async fn a_writer_that_is_gone_leaves_the_head_within_seconds() {
    let parts = Parts::new().await;
    slow_events(&parts.database.pool).await;
    // No limit of a statement ends this one before its minute is over.
    let (appender, writer) = writer(&parts.database.url, Duration::from_secs(600));
    let _answer = appender.enqueue(slow()).await.unwrap();
    slow_statement_runs(&parts.database).await;
    writer.abort();
    let waited = neighbour(&parts).await;
    assert!(waited < Duration::from_secs(30), "the neighbour waited {waited:?} for a writer that was gone");
}

#[tokio::test]
async fn a_writer_that_has_fallen_silent_leaves_the_head_when_its_time_is_over() {
    let database = Database::new().await;
    let proxy = Proxy::before(&database.url).await;
    let url = database.url.clone();
    let parts = Parts::reaching(database, &url);
    slow_events(&parts.database.pool).await;
    let (appender, _writer) = writer(&proxy.url, Duration::from_secs(4));
    let _answer = appender.enqueue(slow()).await.unwrap();
    slow_statement_runs(&parts.database).await;
    // From here on neither side hears of the other, not even of its end.
    proxy.set(Weather::BlackHole);
    let waited = neighbour(&parts).await;
    assert!(waited < Duration::from_secs(30), "the neighbour waited {waited:?} for a writer that was silent");
}

/// A failover to a standby that lagged, behind a pooler that keeps its clients' connections: nothing breaks, and the epoch
/// is as it was.
#[tokio::test]
async fn a_store_that_has_lost_its_tail_under_the_writer_goes_on_from_what_is_left() {
    let parts = Parts::new().await;
    let (aggregate, other) = (Uuid::now_v7(), Uuid::now_v7());
    for version in 0..10 {
        parts.append(&user(aggregate, version)).await.unwrap();
    }
    let lose = "begin; alter table events disable trigger events_are_never_changed;
                delete from events where position > 8; update event_store_head set position = 8;
                alter table events enable trigger events_are_never_changed; commit;";
    sqlx::raw_sql(lose).execute(&parts.database.pool).await.unwrap();
    let seen = Version(10);
    let refused = parts.append(&user(aggregate, seen.0)).await;
    let aggregate_id = AggregateId(aggregate);
    assert_eq!(refused, Err(Error::VersionConflict { aggregate_id, expected: seen, current: Version(8) }));
    parts.append(&user(other, 0)).await.unwrap();
    let unconditional = AppendLine { expected_version: None, ..user(aggregate, 0) };
    let appended = parts.append(&unconditional).await.unwrap();
    assert_eq!((appended[0].version, appended[0].position), (Version(9), Position(10)));
    let head = parts.database.head().await;
    let page = read::page(&parts.database.pool, Position::START, head, 100, &read::Filter::default()).await.unwrap();
    assert_eq!((head, page.events.len()), (Position(10), 10));
}

/// A transaction with a snapshot, of a program with this name, until it is dropped.
async fn snapshot(database: &Database, name: &str) -> sqlx::PgConnection {
    use sqlx::{ConnectOptions, Executor};
    let options = database::options(&database.url).unwrap().application_name(name);
    let mut open = options.connect().await.unwrap();
    open.execute("set idle_in_transaction_session_timeout = 0").await.unwrap();
    open.execute("begin isolation level repeatable read").await.unwrap();
    open.execute("select count(*) from events").await.unwrap();
    open
}

#[tokio::test]
async fn a_snapshot_that_is_open_elsewhere_makes_appends_no_slower() {
    let parts = Parts::new().await;
    let appends = if full_size() { 60_000 } else { 20_000 };
    let measured = 200;
    let pages = "select coalesce(sum(heap_blks_hit + heap_blks_read), 0)::bigint from pg_statio_user_tables
                 where relname = 'event_store_head'";
    let some = async || {
        let started = Instant::now();
        for _ in 0..measured {
            parts.append(&user(Uuid::now_v7(), 0)).await.unwrap();
        }
        started.elapsed()
    };
    some().await;
    let without = some().await;
    let _open = snapshot(&parts.database, "pg_dump").await;
    // Versions of the head row that nobody may remove, as so many appends leave them.
    let update = format!(
        "do $$ declare place tid; begin
             select ctid into place from event_store_head;
             for number in 1..{appends} loop
                 update event_store_head set position = position where ctid = place returning ctid into place;
                 commit;
             end loop;
         end $$"
    );
    let mut updating = parts.database.pool.acquire().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(update)).execute(&mut *updating).await.unwrap();
    updating.close().await.unwrap();
    let table = parts.database.count("select pg_relation_size('event_store_head') / 8192").await;
    assert!(table > appends / 200, "the old versions are still there: {table} pages");
    some().await;
    let before = parts.database.count(pages).await;
    let with = some().await;
    // The writer's connection tells the statistics what it did a while later, or when it ends.
    let (Parts { database, appender, .. }, head) = (parts, table);
    drop(appender);
    let read = eventually("the statistics have come", LIMIT, async || {
        let read = database.count(pages).await - before;
        if read >= measured { Ok(read) } else { Err(format!("{read}")) }
    })
    .await;
    println!(
        "{measured} appends: {without:?}, beside a snapshot open for {appends}: {with:?}, {read} pages of the head"
    );
    assert!(read < measured * head / 4, "{read} pages of the head row's table for {measured} appends; it has {head}");
    if full_size() {
        assert!(with < without * 3, "{without:?} before, {with:?} beside the snapshot");
    }
}

#[tokio::test]
async fn a_snapshot_that_is_open_elsewhere_makes_forgetting_ids_no_slower() {
    let database = Database::new().await;
    let rounds = if full_size() { 60 } else { 12 };
    let _open = snapshot(&database, "pg_dump").await;
    let mut db = database.pool.acquire().await.unwrap();
    let mut pages = Vec::new();
    for round in 0..rounds {
        let (before, settled) = (round * 1000, (round + 1) * 1000);
        sqlx::query(
            "insert into processed_event_ids (projection, generation, event_id, position)
             select 'vocabulary', 1, gen_random_uuid(), position from generate_series($1 + 1, $2) as position",
        )
        .bind(before)
        .bind(settled)
        .execute(&mut *db)
        .await
        .unwrap();
        let settle = include_str!("../../workers/src/sweep/settle.sql");
        let explain = format!("explain (analyze, buffers, format json) {settle}");
        let row = sqlx::query(AssertSqlSafe(explain))
            .bind("vocabulary")
            .bind(1)
            .bind(settled)
            .bind(0_i64)
            .bind(before)
            .fetch_one(&mut *db)
            .await
            .unwrap();
        let plan: serde_json::Value = row.get(0);
        let plan = &plan[0]["Plan"];
        let blocks = |name: &str| plan[name].as_i64().unwrap();
        pages.push(blocks("Shared Hit Blocks") + blocks("Shared Read Blocks"));
    }
    assert_eq!(number(&database.pool, "select count(*) from processed_event_ids").await, 0);
    let (first, last) = (pages[1].min(pages[2]), pages[rounds as usize - 1]);
    assert!(last <= first * 3, "pages read to forget a thousand ids: {pages:?}");
}

#[tokio::test]
async fn who_holds_the_oldest_snapshot_is_named_with_its_pid() {
    let database = Database::new().await;
    let measurer = Measurer::new(database.pool.clone(), catalogue().projections().to_vec());
    let mut open = snapshot(&database, "forgotten in a terminal").await;
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut open).await.unwrap();
    eventually("it is named", LIMIT, async || {
        let oldest = measurer.report().await.unwrap().store.oldest_snapshot;
        let named = oldest.as_ref().is_some_and(|oldest| oldest.pid == Some(pid) && oldest.seconds >= 1.0);
        if named { Ok(()) } else { Err(format!("{oldest:?}")) }
    })
    .await;
    sqlx::raw_sql("rollback").execute(&mut open).await.unwrap();
    let oldest = measurer.report().await.unwrap().store.oldest_snapshot;
    assert!(oldest.as_ref().is_none_or(|oldest| oldest.pid != Some(pid)), "{oldest:?}");
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
        let new = NewReplay { selection, by: By::default(), idempotency_key: None };
        let id = replay::create(pool, applier.projection, plan, &new).await.unwrap();
        let runner = Parts::reaching(Database::existing(&url), &url);
        let read = "select coalesce(sum(idx_tup_fetch + seq_tup_read), 0)::bigint from pg_stat_user_tables where relname = 'events'";
        let before = parts.database.count(read).await;
        let stop = CancellationToken::new();
        let running = tokio::spawn(Replays::of(&runner.appliers).run(stop.clone()));
        let done = eventually("it succeeds", LIMIT, async || {
            let operation = operations::get(pool, id).await.unwrap().unwrap();
            if operation.state == "succeeded" { Ok(operation) } else { Err(format!("{operation:?}")) }
        })
        .await;
        stop.cancel();
        running.await.unwrap();
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

/// Nearly nothing of the store is its topic's, and all of it lies above its settled position.
#[tokio::test]
async fn the_lag_of_a_rare_topic_is_never_less_than_the_truth_and_comes_to_it() {
    let database = Database::new().await;
    fill(&database, if full_size() { 3_000_000 } else { 150_000 }).await;
    sqlx::raw_sql("update projection_progress set settled_position = 0").execute(&database.pool).await.unwrap();
    let truth = number(
        &database.pool,
        "select count(*) from events as event left join projected_aggregates as known
             on known.aggregate_id = event.aggregate_id and known.projection = 'user_directory'
         where event.aggregate_type = 'User' and event.event_version > coalesce(known.version, 0)
         and not coalesce(known.held, false)",
    )
    .await;
    assert!(truth > 0);
    // With no time at all, so that it has to remember.
    let measurer = Measurer::new(database.pool.clone(), catalogue().projections().to_vec()).patience(Duration::ZERO);
    let lag = async || {
        let report = measurer.report().await.unwrap();
        report.projections.into_iter().find(|status| status.name == "user_directory").unwrap()
    };
    let measurements = Cell::new(0);
    let seconds = eventually("all of it has been looked at", LIMIT, async || {
        let status = lag().await;
        measurements.set(measurements.get() + 1);
        assert!(status.lag_events >= truth, "{status:?}, and not {truth}");
        if status.lag_at_most { Err(format!("{status:?}")) } else { Ok((status.lag_events, status.lag_seconds)) }
    })
    .await;
    println!("after {} measurements the lag is exact", measurements.get());
    assert!(measurements.get() > 3, "it was not known at once: {}", measurements.get());
    assert_eq!(seconds.0, truth);
    // An event that is settled meanwhile is seen to be, and one that is appended, too.
    sqlx::query("update projected_aggregates set version = 3 where projection = 'user_directory'")
        .execute(&database.pool)
        .await
        .unwrap();
    let url = database.url.clone();
    let parts = Parts::reaching(database, &url);
    parts.append(&user(Uuid::now_v7(), 0)).await.unwrap();
    eventually("one is left", LIMIT, async || {
        let status = lag().await;
        let one = (status.lag_events, status.lag_at_most) == (1, false) && status.lag_seconds < 60.0;
        if one { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_projection_that_cannot_be_measured_takes_no_other_with_it() {
    let database = Database::new().await;
    // Reading its row fails, and reading no other's does.
    let break_one = "insert into projected_aggregates (projection, generation, aggregate_id, version, held)
                     values ('user_directory', 1, gen_random_uuid(), 1, true);
                     alter table projected_aggregates rename to projected_aggregates_of_all;
                     create view projected_aggregates as select * from projected_aggregates_of_all
                     where case projection when 'user_directory' then 1 / (version - 1) = 1 else true end;";
    sqlx::raw_sql(break_one).execute(&database.pool).await.unwrap();
    let report = database.lag().await;
    let unmeasured: Vec<_> = report.unmeasured.iter().map(|failed| failed.name).collect();
    assert_eq!(unmeasured, ["user_directory"], "{:?}", report.unmeasured);
    assert_eq!(report.projections.len(), catalogue().projections().len() - 1);

    let registry = Registry::new();
    let metrics = workers::Metrics::register(&registry).unwrap();
    metrics.register_lag(&registry).unwrap();
    metrics.observe_lag(Some(&report));
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    assert!(text.contains(r#"projection_lag_events{projection="vocabulary""#), "{text}");
    assert!(!text.contains(r#"projection_lag_events{projection="user_directory""#), "{text}");
    assert!(text.contains("projection_lag_observed_timestamp_seconds 0"), "what was not measured was not observed");
}
