//! Who relays, from where, and how far: leases, cursors, and hints that are not true.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use event_store::relay::Relay;
use event_store::tail::Head;
use projections::topics::INTEGRATION;
use prometheus::Registry;
use sqlx::Executor;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::relays::{Odd, Received, Running, appended, bus, cursor_at, ids, saying};
use crate::harness::parts::{LIMIT, Parts};
use crate::harness::{eventually, full_size};

#[tokio::test]
async fn a_bus_that_is_slower_than_the_lease_is_published_to_by_one_of_two_relays() {
    let parts = Parts::new().await;
    let pages = if full_size() { 5 } else { 1 };
    let all = appended(&parts, 1000 * pages).await;
    let bus = bus();
    let received = Received::from(&bus);
    let asked = Arc::new(AtomicUsize::new(0));
    let odd = || Odd {
        inner: bus.publisher(INTEGRATION.name),
        // Three seconds in which another could take the lease if it were not renewed.
        pause: Duration::from_secs(13),
        stubborn: Arc::default(),
        away_after: Arc::new(usize::MAX.into()),
        asked: asked.clone(),
    };
    let relays = [(); 2].map(|()| Running::start(&parts.database, Arc::new(odd())));
    received.all(&all).await;
    cursor_at(&parts.database, all.len() as i64).await;
    assert_eq!(asked.load(Ordering::Relaxed), all.len(), "each was published once");
    assert_eq!(received.times(), BTreeMap::from([(1, all.len())]), "how often they came, and how many of them");
    for relay in relays {
        relay.stop().await;
    }
}

/// What is confirmed is confirmed: the cursor moves although the lease has gone to somebody who does nothing with it.
#[tokio::test]
async fn what_a_relay_published_counts_although_it_has_lost_its_lease() {
    let parts = Parts::new().await;
    appended(&parts, 100).await;
    let bus = bus();
    let relay = Relay {
        topic: &INTEGRATION,
        publisher: Arc::new(bus.publisher(INTEGRATION.name)),
        pool: parts.database.pool.clone(),
        head: Head::default(),
        metrics: event_store::Metrics::register(&Registry::new()).unwrap(),
    };
    let stop = CancellationToken::new();
    let sleeper = kill_points::hold_at("relay.published", relay.run(stop.clone())).await;
    let stolen = "update relay_cursors set lease_holder = gen_random_uuid(), leased_until = now() + interval '1 hour'";
    parts.database.pool.execute(stolen).await.unwrap();
    let woken = tokio::spawn(sleeper.go());
    cursor_at(&parts.database, 100).await;
    let theirs = "select count(*) from relay_cursors where leased_until > now() + interval '50 minutes'";
    assert_eq!(parts.database.count(theirs).await, 1, "the lease is left to whoever has it");
    stop.cancel();
    woken.await.unwrap();
}

#[tokio::test]
async fn a_dead_relays_lease_ends_although_the_clock_of_the_database_went_back() {
    let parts = Parts::new().await;
    let all = appended(&parts, 10).await;
    let dead = "insert into relay_cursors (topic, lease_holder, leased_until)
                values ('integration-events', gen_random_uuid(), now() + interval '1 hour')";
    parts.database.pool.execute(dead).await.unwrap();
    let bus = bus();
    let received = Received::from(&bus);
    let started = Instant::now();
    let relay = Running::start(&parts.database, Arc::new(bus.publisher(INTEGRATION.name)));
    received.all(&all).await;
    assert!(started.elapsed() >= Duration::from_secs(10), "a lease that is watched is watched for its whole length");
    relay.stop().await;
}

/// As a failover leaves it that loses the tail: the store ends before what the relay has in mind, and goes on from there.
#[tokio::test]
async fn a_relay_that_knows_more_than_the_store_goes_back_to_where_the_store_ends() {
    let parts = Parts::new().await;
    appended(&parts, 50).await;
    let bus = bus();
    let received = Received::from(&bus);
    let relay = Running::start(&parts.database, Arc::new(bus.publisher(INTEGRATION.name)));
    cursor_at(&parts.database, 50).await;

    // The cursor went back with the store, or did not; the store has since passed what the relay has in mind, or has not.
    for (cursor, again) in [(40, 47), (45, 47), (40, 60)] {
        let lost = format!(
            "begin;
             set local session_replication_role = replica;
             delete from events where position > 40;
             update event_store_head set position = 40;
             update relay_cursors set position = {cursor};
             insert into events (position, event_id, aggregate_id, aggregate_type, event_type, event_version, event_data,
             metadata, occurred_at)
             select 40 + n, gen_random_uuid(), gen_random_uuid(), 'User', 'UserDeleted', 1, '{{}}', '{{}}', now()
             from generate_series(1, {again} - 40) as n;
             update event_store_head set position = {again};
             commit"
        );
        let rewinds = relay.counted("relay_rewinds_total", INTEGRATION.name);
        parts.database.pool.execute(sqlx::AssertSqlSafe(lost)).await.unwrap();
        eventually("it is noticed", LIMIT, async || {
            let now = relay.counted("relay_rewinds_total", INTEGRATION.name);
            if now > rewinds { Ok(()) } else { Err("it is not".to_owned()) }
        })
        .await;
        cursor_at(&parts.database, again).await;
        if cursor == 40 {
            received.all(&ids(&parts.database).await).await;
        }
    }
    // Beyond what there is: then it waits for nobody.
    parts.database.pool.execute("update relay_cursors set position = 1000000, lease_holder = null").await.unwrap();
    relay.stop().await;
    let relay = Running::start(&parts.database, Arc::new(bus.publisher(INTEGRATION.name)));
    cursor_at(&parts.database, 60).await;
    assert!(relay.counted("relay_rewinds_total", INTEGRATION.name) > 0);
    let more = saying("after it");
    parts.load(&[more]).await;
    received.all(&ids(&parts.database).await[60..]).await;
    relay.stop().await;
}

#[tokio::test]
async fn a_notification_that_is_not_true_costs_one_look_a_second() {
    let parts = Parts::new().await;
    appended(&parts, 5).await;
    let (bus, head, stop) = (bus(), Head::default(), CancellationToken::new());
    let listening = tokio::spawn(head.clone().listen(parts.database.pool.clone(), stop.clone()));
    let relay = Running::hearing(&parts.database, Arc::new(bus.publisher(INTEGRATION.name)), head.clone());
    cursor_at(&parts.database, 5).await;

    let mut looks = 0;
    let follower = async {
        loop {
            head.past(events::Position(5)).await;
            head.look(&parts.database.pool).await.unwrap();
            looks += 1;
        }
    };
    let liar = async {
        for n in 0..300 {
            let lie = format!("notify fleet_appended, '{}'", 1_000_000_000 + n);
            parts.database.pool.execute(sqlx::AssertSqlSafe(lie)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! { () = follower => {} () = liar => {} }
    assert!(looks <= 20, "{looks} looks in about three seconds");

    // And is forgotten: what is true is heard at once.
    let heard = tokio::spawn({
        let head = head.clone();
        async move { head.past(events::Position(5)).await }
    });
    appended(&parts, 1).await;
    heard.await.unwrap();
    stop.cancel();
    listening.await.unwrap();
    relay.stop().await;
}

/// The dead versions of the row cannot be cleaned away as long as the snapshot is open.
#[tokio::test]
async fn a_snapshot_that_is_held_open_does_not_slow_the_cursor_down() {
    let parts = Parts::new().await;
    let all = appended(&parts, 1).await;
    let mut open = parts.database.pool.begin().await.unwrap();
    open.execute("set transaction isolation level repeatable read").await.unwrap();
    open.execute("select count(*) from relay_cursors").await.unwrap();
    let pool = &parts.database.pool;
    pool.execute("insert into relay_cursors (topic) values ('integration-events')").await.unwrap();

    let moves = if full_size() { 60_000 } else { 3_000 };
    let advance = include_str!("../../event-store/src/relay/advance.sql");
    let mut place: Option<String> = None;
    let mut connection = pool.acquire().await.unwrap();
    for to in 1..=moves {
        let row: (bool, String) = sqlx::query_as(advance)
            .bind(INTEGRATION.name)
            .bind(Uuid::nil())
            .bind(to)
            .bind(to - 1)
            .bind(1_i64)
            .bind(all[0])
            .bind(10.0)
            .bind(&place)
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        place = Some(row.1);
    }
    let visited = async |place: String| {
        let of = format!(
            "explain (analyze, buffers, format json) {}",
            advance
                .replace("$1", "'integration-events'")
                .replace("$2", "'00000000-0000-0000-0000-000000000000'::uuid")
                .replace("$3", &(moves + 1).to_string())
                .replace("$4", "0")
                .replace("$5", "1")
                .replace("$6", &format!("'{}'::uuid", all[0]))
                .replace("$7", "10.0")
                .replace("$8", &place)
        );
        let mut look = pool.begin().await.unwrap();
        let plan: serde_json::Value = sqlx::query_scalar(sqlx::AssertSqlSafe(of)).fetch_one(&mut *look).await.unwrap();
        look.rollback().await.unwrap();
        plan[0]["Plan"]["Shared Hit Blocks"].as_i64().unwrap()
    };
    let (by_place, by_key) = (visited(format!("'{}'", place.unwrap())).await, visited("null".to_owned()).await);
    println!("after {moves} moves: {by_place} blocks by its place, {by_key} by its key");
    assert!(by_place < 30 && by_key > by_place, "{by_place} blocks, {by_key} by key");
}
