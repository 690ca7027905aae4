//! What the event store's writer holds while it writes, and lets go of: the head row, its callers, its place in the store.

use std::time::{Duration, Instant};

use event_store::Metrics as StoreMetrics;
use event_store::append::{Append, Appended, Appender, Config, Error};
use event_store::read;
use event_store::tail::Head;
use events::{AggregateId, AppendLine, Position, Version};
use prometheus::Registry;
use rand::Rng;
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor, PgPool};
use uuid::Uuid;

use super::growth::user;
use crate::harness::parts::{LIMIT, Parts, line, request};
use crate::harness::proxy::{Proxy, Weather};
use crate::harness::{Database, eventually};
use crate::sample::seeded;

/// A writer of its own, of which an attempt takes at most so long.
fn writer(url: &str, attempt: Duration) -> (Appender, tokio::task::JoinHandle<()>) {
    let config = Config { attempt, patience: Duration::ZERO, ..Config::new(database::options(url).unwrap()) };
    Appender::start(config, Head::default(), StoreMetrics::register(&Registry::new()).unwrap())
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

/// Requests that wait together: the first makes the writer connect, and the others come meanwhile.
async fn together(appender: &Appender, requests: Vec<Append>) -> Vec<Result<Vec<Appended>, Error>> {
    let mut waiting = Vec::new();
    for request in requests {
        waiting.push(appender.enqueue(request).await.unwrap());
    }
    let mut answers = Vec::new();
    for answer in waiting {
        answers.push(answer.await.unwrap());
    }
    answers
}

#[tokio::test]
async fn a_request_that_is_too_much_fails_alone_and_its_neighbours_are_written() {
    let parts = Parts::new().await;
    slow_events(&parts.database.pool).await;
    let (appender, _writer) = writer(&parts.database.url, Duration::from_secs(4));
    // One aggregate's versions stand on both sides of it.
    let aggregate = Uuid::now_v7();
    let mut requests: Vec<_> = (0..60).map(|version| request(&user(aggregate, version))).collect();
    let place = seeded().random_range(1..59);
    let padding = "x".repeat(1_000_000);
    requests.insert(place, request(&line("User", Uuid::now_v7(), 0, "Slow", &json!({"padding": padding}))));
    let mut answers = together(&appender, requests).await;
    let slow = answers.remove(place);
    assert!(matches!(slow, Err(Error::Unavailable(_))), "{slow:?}");
    let versions: Vec<_> = answers.into_iter().map(|answer| answer.unwrap()[0].version.0).collect();
    assert_eq!(versions, (1..=60).collect::<Vec<_>>());
    assert_eq!(parts.database.head().await, Position(60));
}

#[tokio::test]
async fn what_is_too_much_for_one_statement_is_written_in_several() {
    for code in ["57014", "53200"] {
        let parts = Parts::new().await;
        let refuse = format!(
            "create function refuse() returns trigger language plpgsql as $$
             begin
                 if (select count(*) from written) > 60 then raise exception 'a fault' using errcode = '{code}'; end if;
                 return null;
             end $$;
             create trigger refuse after insert on events
             referencing new table as written for each statement execute function refuse()"
        );
        parts.database.pool.execute(AssertSqlSafe(refuse)).await.unwrap();
        let requests = (0..1000).map(|_| request(&user(Uuid::now_v7(), 0))).collect();
        let answers = together(&parts.appender, requests).await;
        let failed = answers.iter().find(|answer| answer.is_err());
        assert_eq!(failed, None, "{code}");
        assert_eq!(parts.database.head().await, Position(1000));
    }
}
