//! Connections to Postgres that break, at the worst moments.

use std::time::Duration;

use database::SILENCE;
use event_store::append::Error;
use kill_points::hold_at;
use rand::Rng;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::apply::Mode;
use workers::retry;
use workers::sweep::Sweep;

use crate::harness::Database;
use crate::harness::parts::{LIMIT, Parts, apply, consistent, line};
use crate::harness::proxy::{Proxy, Weather};
use crate::histories::History;
use crate::oracle::{self, Held};
use crate::sample::seeded;

async fn proxied() -> (Parts, Proxy) {
    let database = Database::new().await;
    let proxy = Proxy::before(&database.url).await;
    let parts = Parts::reaching(database, &proxy.url);
    (parts, proxy)
}

#[tokio::test]
async fn an_append_whose_connection_breaks_at_its_commit_is_written_once_and_answered_truly() {
    for keyed in [false, true] {
        for cut in [Weather::CutBefore, Weather::CutAnswer] {
            let (parts, proxy) = proxied().await;
            // The first append of a writer goes the careful way and commits by word; the second is one statement.
            for (version, marker) in [b"COMMIT".as_slice(), b"marked"].into_iter().enumerate() {
                let aggregate = Uuid::from_u128(7);
                let data = json!({"user_id": aggregate, "email": "marked@example.org"});
                let mut line = line("User", aggregate, version as i32, "UserEmailUpdated", &data);
                line.idempotency_key = keyed.then(|| format!("key-{version}"));
                proxy.set(cut(marker));
                let appended = parts.append(&line).await.unwrap();
                assert_eq!(appended.len(), 1);
                assert_eq!((appended[0].version.0, appended[0].position.0), (version as i32 + 1, version as i64 + 1));
                assert_eq!(proxy.cuts(), version + 1, "it was cut");
            }
            assert_eq!(parts.database.count("select count(*) from events").await, 2);
            assert_eq!(parts.database.head().await.0, 2);
        }
    }
}

#[tokio::test]
async fn an_apply_whose_commit_has_no_answer_is_repeated_without_effect() {
    let mut rng = seeded();
    for (cut, durable) in [(Weather::CutBefore as fn(_) -> _, false), (Weather::CutAnswer, true)] {
        let (parts, proxy) = proxied().await;
        let history = History::of(rng.random(), 300);
        parts.load(&history.lines).await;
        let events = parts.events(Default::default()).await;
        for applier in &parts.appliers {
            let before = proxy.cuts();
            proxy.set(cut(b"COMMIT"));
            let error = apply(applier, &events, Mode::Live).await.unwrap_err();
            assert!(error.is_transient(), "{error}");
            assert_eq!(proxy.cuts(), before + 1, "it was cut");
            consistent(&parts.database.pool).await;

            let again = apply(applier, &events, Mode::Live).await.unwrap();
            assert_eq!(again.applied == 0, durable, "what was committed is a duplicate: {again:?}");
            assert_eq!(again.duplicate > 0, durable, "{again:?}");
        }
        parts.converge(&Held::default()).await;
    }
}

#[tokio::test]
async fn a_backend_that_is_terminated_in_the_middle_of_an_apply_leaves_nothing_of_it() {
    let (parts, history) = Parts::with_history(seeded().random(), 300).await;
    let events = parts.events(Default::default()).await;
    for point in ["apply.locked", "apply.written", "apply.recorded"] {
        let (applier, deliveries) = (parts.applier("vocabulary").clone(), events.clone());
        let held = hold_at(point, async move { apply(&applier, &deliveries, Mode::Live).await }).await;
        let terminated = parts
            .database
            .count(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity
                 where datname = current_database() and state = 'idle in transaction'",
            )
            .await;
        assert_eq!(terminated, 1);
        let error = held.go().await.unwrap_err();
        assert!(error.is_transient(), "{point}: {error}");
        consistent(&parts.database.pool).await;
        assert_eq!(parts.database.count("select count(*) from processed_event_ids").await, 0);
    }
    parts.converge(&history.held()).await;
}

#[tokio::test]
async fn a_connection_that_has_fallen_silent_is_given_up_and_the_work_goes_on() {
    let (parts, proxy) = proxied().await;
    let history = History::of(seeded().random(), 300);
    parts.load(&history.lines).await;
    let events = parts.events(Default::default()).await;
    // A connection of the pool that is in use and one that is not, both silent from now on.
    let applier = parts.applier("vocabulary").clone();
    let deliveries = events.clone();
    let held = hold_at("apply.written", async move {
        let stop = CancellationToken::new();
        retry::until_done("a test", &stop, || apply(&applier, &deliveries, Mode::Live)).await
    })
    .await;
    proxy.set(Weather::BlackHole);
    let working = tokio::spawn(held.go());
    tokio::task::yield_now().await;
    // Nothing moves any more, so that the clock may run to the next limit.
    proxy.swallowed().await;
    tokio::time::pause();
    tokio::time::advance(SILENCE).await;
    tokio::time::resume();
    proxy.set(Weather::Fair);
    // The server holds the locks of the connection that it cannot know to be gone; it ends it after a minute.
    let idle = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                where datname = current_database() and state = 'idle in transaction'";
    parts.database.count(idle).await;
    let tally = tokio::time::timeout(LIMIT / 4, working).await.unwrap().unwrap().unwrap();
    assert!(tally.applied > 0, "{tally:?}");
    parts.converge(&Held::default()).await;
}

#[tokio::test]
async fn slow_and_broken_links_delay_and_change_nothing() {
    let (parts, proxy) = proxied().await;
    let history = History::of(seeded().random(), 400);
    let stop = CancellationToken::new();
    let mut sweeps = tokio::task::JoinSet::new();
    for applier in &parts.appliers {
        let sweep = Sweep { applier: applier.clone(), head: Default::default(), grace: Duration::ZERO };
        sweeps.spawn(sweep.run(stop.clone()));
    }
    let weathers =
        [Weather::Slow(Duration::from_millis(3)), Weather::Down, Weather::Fair, Weather::Down, Weather::Fair];
    let pages = history.lines.len().div_ceil(weathers.len());
    for (lines, weather) in history.lines.chunks(pages).zip(weathers) {
        let down = weather == Weather::Down;
        proxy.set(weather);
        for line in lines {
            let appended = parts.append(line);
            if down {
                // The writer's patience is 5 s; the caller's is less, and it asks again with the same line.
                let gave_up = tokio::time::timeout(Duration::from_millis(20), appended).await;
                assert!(matches!(gave_up, Err(_) | Ok(Ok(_) | Err(Error::Unavailable(_)))), "{gave_up:?}");
                proxy.set(Weather::Fair);
                match parts.append(line).await {
                    Ok(_) | Err(Error::EventExists(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            } else {
                appended.await.unwrap();
            }
        }
    }
    assert!(proxy.cuts() >= 2, "connections were cut");
    parts.database.settled(400, LIMIT).await;
    stop.cancel();
    sweeps.join_all().await;
    oracle::assert_equal(&parts.database.pool).await;
    assert_eq!(parts.database.count("select count(*) from events").await, 400);
}
