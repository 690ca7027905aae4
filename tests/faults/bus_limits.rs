//! What the bus never takes, and what only looks like that.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bus::google::Google;
use bus::{Chaos, Embedded, Spec};
use event_store::tail::Head;
use projections::topics::INTEGRATION;
use rand::seq::SliceRandom;
use serde_json::json;
use uuid::Uuid;

use super::relays::{CURSOR, Odd, REFUSED, Received, Running, appended, bus, cursor_at, ids, saying};
use crate::harness::client::{append, connect, signed_up};
use crate::harness::parts::{LIMIT, Parts};
use crate::harness::{Broker, Fleet, eventually, full_size};
use crate::sample::seeded;

#[tokio::test]
async fn a_trace_that_is_none_goes_no_further_than_the_store() {
    let broker = Broker::start(Chaos::new(0)).await;
    let fleet = Fleet::on(&broker).await;
    let store = fleet.event_store().await;
    let received = Received::from(&broker.bus);
    let mut client = connect(&store).await;
    for wrong in [json!("t".repeat(1025)), json!({"of": "another kind"}), json!(7)] {
        let user = Uuid::now_v7();
        let mut event = signed_up(user);
        event.metadata = json!({ "traceparent": wrong }).to_string();
        client.append_events(append("User", user, vec![event])).await.unwrap();
    }
    received.all(&ids(&fleet.database).await).await;
    assert_eq!(fleet.database.count(REFUSED).await, 0);
}

/// Of a kind that the fleet does not know, so that only the bus can say so, and only of a whole request.
#[tokio::test]
async fn twenty_messages_that_the_bus_refuses_hardly_delay_the_others() {
    let broker = Broker::start(Chaos::new(0)).await;
    *broker.refused.lock().unwrap() = Some("never-take-this");
    let parts = Parts::new().await;
    let received = Received::from(&broker.bus);
    let google = Google::new("test", Some(broker.host.clone()));
    let head = Head::default();
    let relay = Running::hearing(&parts.database, Arc::new(google.publisher(INTEGRATION.name)), head.clone());

    let count = if full_size() { 10_000 } else { 2_000 };
    let mut lines: Vec<_> = (0..count).map(|n| saying(if n < 20 { "never-take-this" } else { "hello" })).collect();
    lines.shuffle(&mut seeded());
    let mut answered = HashMap::new();
    // A live topic: 1,000 events per second. Flat out, this would say how fast the machine loads.
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    for page in lines.chunks(50) {
        pace.tick().await;
        let before = Instant::now();
        parts.load(page).await;
        // As the event store's own writer lets its relay know.
        head.look(&parts.database.pool).await.unwrap();
        answered.extend(page.iter().map(|line| (line.aggregate_id.0, before)));
    }
    let refused = "select events.event_id from events join refused_messages using (position)";
    let taken = "select event_id from events where event_data ->> 'note' = 'hello'";
    let taken: Vec<Uuid> = sqlx::query_scalar(taken).fetch_all(&parts.database.pool).await.unwrap();
    received.all(&taken).await;
    cursor_at(&parts.database, count).await;
    let refused: HashSet<Uuid> =
        sqlx::query_scalar(refused).fetch_all(&parts.database.pool).await.unwrap().into_iter().collect();
    assert!(refused.len() == 20 && taken.iter().all(|id| !refused.contains(id)), "{} are refused", refused.len());
    assert_eq!(relay.counted("relay_published_events_total", "refused"), 20);

    let whose = sqlx::query_as::<_, (Uuid, Uuid)>("select event_id, aggregate_id from events");
    let whose: HashMap<Uuid, Uuid> = whose.fetch_all(&parts.database.pool).await.unwrap().into_iter().collect();
    let arrived = received.0.lock().unwrap().clone();
    let mut late: Vec<_> = taken.iter().map(|id| arrived[id].0.duration_since(answered[&whose[id]])).collect();
    late.sort_unstable();
    let p99 = late[late.len() * 99 / 100];
    println!("from append to arrival: half within {:?}, 99 of 100 within {p99:?}", late[late.len() / 2]);
    // A second on a machine that is not busy with other tests; in any case long before a sweep would bring it.
    let limit = Duration::from_secs(if full_size() { 1 } else { 8 });
    assert!(p99 < limit, "{p99:?}");
    relay.stop().await;
}

#[tokio::test]
async fn what_is_beyond_the_limits_of_every_bus_is_recorded_and_passed() {
    let parts = Parts::new().await;
    let bus = bus();
    let received = Received::from(&bus);
    parts.load(&[saying("hello"), saying(&"x".repeat(10_000_000)), saying("hello")]).await;
    let relay = Running::start(&parts.database, Arc::new(bus.publisher(INTEGRATION.name)));
    let ids = ids(&parts.database).await;
    received.all(&[ids[0], ids[2]]).await;
    cursor_at(&parts.database, 3).await;
    let refused: Vec<(i64, String)> =
        sqlx::query_as("select position, reason from refused_messages").fetch_all(&parts.database.pool).await.unwrap();
    assert!(matches!(&refused[..], [(2, reason)] if reason.contains("at most 10000000")), "{refused:?}");
    relay.stop().await;
}

#[tokio::test]
async fn an_outage_refuses_nothing() {
    let parts = Parts::new().await;
    let all = appended(&parts, 30).await;
    // Its topic is not there: the bus answers, and what it says is about no message.
    let bus = Embedded::new();
    let relay = Running::start(&parts.database, Arc::new(bus.publisher(INTEGRATION.name)));
    eventually("it has failed twice", LIMIT, async || {
        let failed = relay.counted("relay_published_events_total", "failed");
        if failed >= 60 { Ok(()) } else { Err(failed.to_string()) }
    })
    .await;
    assert_eq!((parts.database.count(REFUSED).await, parts.database.count(CURSOR).await), (0, 0));
    bus.ensure_topic(INTEGRATION.name);
    bus.ensure_subscription(Spec::new(INTEGRATION.subscription, INTEGRATION.name)).unwrap();
    Received::from(&bus).all(&all).await;
    cursor_at(&parts.database, 30).await;
    assert_eq!(relay.counted("relay_published_events_total", "refused"), 0);
    relay.stop().await;
}

/// A schema was attached to the topic, say: each message is refused as if it were to blame.
#[tokio::test]
async fn a_topic_that_refuses_everything_is_an_outage() {
    let parts = Parts::new().await;
    let all = appended(&parts, 300).await;
    let bus = bus();
    let received = Received::from(&bus);
    let stubborn = Arc::new(AtomicBool::new(true));
    let odd = Odd {
        inner: bus.publisher(INTEGRATION.name),
        pause: Duration::ZERO,
        stubborn: stubborn.clone(),
        away_after: Arc::new(usize::MAX.into()),
        asked: Arc::default(),
    };
    let relay = Running::start(&parts.database, Arc::new(odd));
    eventually("it has failed twice", LIMIT, async || {
        let failed = relay.counted("relay_published_events_total", "failed");
        if failed >= 600 { Ok(()) } else { Err(failed.to_string()) }
    })
    .await;
    assert_eq!((parts.database.count(REFUSED).await, parts.database.count(CURSOR).await), (0, 0));
    stubborn.store(false, Ordering::Relaxed);
    received.all(&all).await;
    cursor_at(&parts.database, 300).await;
    assert_eq!(parts.database.count(REFUSED).await, 0);
    relay.stop().await;
}

/// A load is refused as a whole, or each of those that are tried of it, and while it is found out whose fault that is, the bus
/// goes away.
#[tokio::test]
async fn a_refusal_that_is_followed_by_an_outage_refuses_nothing() {
    // How many requests are refused before that: the load; the load and some of its parts; single ones that are tried.
    for refused in [1, 9, 40] {
        let parts = Parts::new().await;
        let all = appended(&parts, 300).await;
        let bus = bus();
        let received = Received::from(&bus);
        let (stubborn, away_after) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(refused)));
        let odd = Odd {
            inner: bus.publisher(INTEGRATION.name),
            pause: Duration::ZERO,
            stubborn: stubborn.clone(),
            away_after: away_after.clone(),
            asked: Arc::default(),
        };
        let relay = Running::start(&parts.database, Arc::new(odd));
        eventually("it is away, and was asked again", LIMIT, async || {
            let failed = relay.counted("relay_published_events_total", "failed");
            let left = away_after.load(Ordering::Relaxed);
            if failed >= 900 && left == 0 { Ok(()) } else { Err(format!("{failed} failed, {left} left")) }
        })
        .await;
        assert_eq!((parts.database.count(REFUSED).await, parts.database.count(CURSOR).await), (0, 0), "{refused}");
        stubborn.store(false, Ordering::Relaxed);
        away_after.store(usize::MAX, Ordering::Relaxed);
        received.all(&all).await;
        cursor_at(&parts.database, 300).await;
        assert_eq!(parts.database.count(REFUSED).await, 0, "{refused}");
        relay.stop().await;
    }
}
