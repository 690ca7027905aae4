//! What a relay may do: move past what the bus has confirmed, while it has the lease.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bus::embedded::EmbeddedPublisher;
use bus::{Blame, Embedded, Message, PublishError, Publisher};
use event_store::relay::Relay;
use events::{Position, wire};
use futures::future::BoxFuture;
use kill_points::hold_at;
use projections::topics::INTEGRATION;
use rand::Rng;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::harness::eventually;
use crate::harness::parts::{LIMIT, Parts};
use crate::sample::seeded;

fn relay(parts: &Parts, publisher: impl Publisher) -> Relay {
    Relay {
        topic: &INTEGRATION,
        publisher: Arc::new(publisher),
        pool: parts.database.pool.clone(),
        head: Default::default(),
        metrics: event_store::Metrics::register(&prometheus::Registry::new()).unwrap(),
    }
}

/// The positions of the topic's events.
async fn positions(parts: &Parts) -> Vec<i64> {
    let events = parts.events(Position::START).await;
    let ours = |kind: &str| INTEGRATION.aggregate_types.contains(&kind);
    events.iter().filter(|event| ours(&event.data.aggregate_type)).map(|event| event.position.0).collect()
}

async fn cursor(parts: &Parts) -> i64 {
    parts.database.count("select coalesce(max(position), 0) from relay_cursors").await
}

/// A bus that takes the first so many messages of a request, and says so.
struct Hesitant {
    bus: EmbeddedPublisher,
    /// The next request last.
    takes: Mutex<Vec<usize>>,
    taken: Arc<Mutex<Vec<Uuid>>>,
}

impl Publisher for Hesitant {
    fn publish(&self, mut messages: Vec<Message>) -> BoxFuture<'_, Result<(), PublishError>> {
        Box::pin(async move {
            let takes = self.takes.lock().unwrap().pop();
            let all = messages.len();
            messages.truncate(takes.unwrap_or(all));
            let confirmed = messages.len();
            self.taken.lock().unwrap().extend(messages.iter().map(|it| wire::identify(&it.data).unwrap().event_id.0));
            if confirmed > 0 {
                self.bus.publish(messages).await?;
            }
            let source =
                bus::Error { doing: "publishing".to_owned(), reason: "it hesitates".to_owned(), blames: Blame::Bus };
            if confirmed < all { Err(PublishError { confirmed, source }) } else { Ok(()) }
        })
    }
}

#[tokio::test]
async fn the_cursor_stops_before_the_first_message_that_was_not_confirmed() {
    let (parts, _) = Parts::with_history(seeded().random(), 600).await;
    let positions = positions(&parts).await;
    let bus = Embedded::new();
    bus.ensure_topic(INTEGRATION.name);
    let taken = Arc::default();
    // Three messages of the first request, none of the second, one of the third, then all.
    let takes = Mutex::new(vec![1, 0, 3]);
    let publisher = Hesitant { bus: bus.publisher(INTEGRATION.name), takes, taken: Arc::clone(&taken) };
    let stop = CancellationToken::new();
    let held = hold_at("relay.advanced", relay(&parts, publisher).run(stop.clone())).await;
    assert_eq!(taken.lock().unwrap().len(), 3);
    let at = cursor(&parts).await;
    assert!(
        (positions[2]..positions[3]).contains(&at),
        "{at}: the third is confirmed, the fourth is not: {positions:?}"
    );
    let running = tokio::spawn(held.go());
    eventually("everything is relayed", LIMIT, async || {
        let at = cursor(&parts).await;
        if at >= *positions.last().unwrap() { Ok(()) } else { Err(at.to_string()) }
    })
    .await;
    stop.cancel();
    running.await.unwrap();
    let events = parts.events(Position::START).await;
    let all: Vec<Uuid> =
        events.iter().filter(|it| positions.contains(&it.position.0)).map(|it| it.event_id.0).collect();
    assert_eq!(*taken.lock().unwrap(), all, "in order, each once: what was confirmed is not published again");
}

/// Counts what is published through it.
struct Counted(Arc<AtomicUsize>);

impl Publisher for Counted {
    fn publish(&self, messages: Vec<Message>) -> BoxFuture<'_, Result<(), PublishError>> {
        self.0.fetch_add(messages.len(), Ordering::SeqCst);
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test]
async fn a_lease_in_force_is_nobody_elses() {
    let (parts, _) = Parts::with_history(seeded().random(), 600).await;
    let published = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let [stop, other_stop] = [(); 2].map(|()| CancellationToken::new());
    let holder = hold_at("relay.leased", relay(&parts, Counted(published[0].clone())).run(stop.clone())).await;
    let lease = "select lease_holder from relay_cursors where leased_until > clock_timestamp()";
    let lease = async || sqlx::query_scalar::<_, Uuid>(lease).fetch_one(&parts.database.pool).await.unwrap();
    let before = lease().await;
    // It has asked.
    let other = hold_at("relay.leased", relay(&parts, Counted(published[1].clone())).run(other_stop.clone())).await;
    assert_eq!(lease().await, before, "the lease is in force");
    let other = tokio::spawn(other.go());
    let holder = tokio::spawn(holder.go());
    let positions = positions(&parts).await;
    eventually("everything is relayed", LIMIT, async || {
        let at = cursor(&parts).await;
        if at >= *positions.last().unwrap() { Ok(()) } else { Err(at.to_string()) }
    })
    .await;
    assert_eq!(published[0].load(Ordering::SeqCst), positions.len());
    assert_eq!(published[1].load(Ordering::SeqCst), 0, "whoever has no lease publishes nothing");
    // Whoever goes gives it back, and the next need not wait for its end.
    stop.cancel();
    holder.await.unwrap();
    eventually("the other has the lease", LIMIT, async || {
        let held = sqlx::query_scalar::<_, Option<Uuid>>("select lease_holder from relay_cursors");
        let held = held.fetch_one(&parts.database.pool).await.unwrap();
        if held.is_some_and(|held| held != before) { Ok(()) } else { Err(format!("{held:?}")) }
    })
    .await;
    other_stop.cancel();
    other.await.unwrap();
}
