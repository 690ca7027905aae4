//! What the bus never takes, takes its time to take, or is told to take by a relay that knows too much.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bus::google::Google;
use bus::{Blame, Chaos, Embedded, Message, PublishError, Publisher, Spec, Subscription};
use event_store::relay::Relay;
use event_store::tail::Head;
use events::AppendLine;
use futures::FutureExt;
use futures::future::BoxFuture;
use projections::topics::INTEGRATION;
use prometheus::Registry;
use rand::seq::SliceRandom;
use serde_json::json;
use sqlx::Executor;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::harness::client::{append, connect, signed_up};
use crate::harness::parts::{LIMIT, Parts, line};
use crate::harness::{Broker, Database, Fleet, eventually, full_size};
use crate::sample::seeded;

const REFUSED: &str = "select count(*) from refused_messages";
const CURSOR: &str = "select coalesce(max(position), 0) from relay_cursors where topic = 'integration-events'";

/// A relay in this process, with numbers of its own.
struct Running {
    registry: Registry,
    stop: CancellationToken,
    relaying: JoinHandle<()>,
}

impl Running {
    fn start(database: &Database, publisher: Arc<dyn Publisher>) -> Self {
        Self::hearing(database, publisher, Head::default())
    }

    fn hearing(database: &Database, publisher: Arc<dyn Publisher>, head: Head) -> Self {
        let registry = Registry::new();
        let metrics = event_store::Metrics::register(&registry).unwrap();
        let relay = Relay { topic: &INTEGRATION, publisher, pool: database.pool.clone(), head, metrics };
        let stop = CancellationToken::new();
        Self { registry, relaying: tokio::spawn(relay.run(stop.clone())), stop }
    }

    /// The sum of a counter over the labels that hold this value.
    fn counted(&self, name: &str, label: &str) -> u64 {
        let family = self.registry.gather().into_iter().find(|family| family.name() == name);
        let metrics = family.iter().flat_map(|family| family.get_metric());
        let labelled = metrics.filter(|metric| metric.get_label().iter().any(|pair| pair.value() == label));
        labelled.map(|metric| metric.get_counter().get_value() as u64).sum()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.relaying.await.unwrap();
    }
}

/// What arrives at the topic's subscription: when each event came first, and how often.
#[derive(Clone, Default)]
struct Received(Arc<Mutex<HashMap<Uuid, (Instant, usize)>>>);

impl Received {
    fn from(bus: &Embedded) -> Self {
        let received = Self::default();
        let (sender, mut deliveries) = tokio::sync::mpsc::channel(1000);
        let subscription = bus.subscription(INTEGRATION.subscription);
        tokio::spawn(async move { subscription.receive(sender, CancellationToken::new()).await });
        let events = received.0.clone();
        tokio::spawn(async move {
            while let Some(delivery) = deliveries.recv().await {
                let id = events::wire::identify(&delivery.message.data).unwrap().event_id.0;
                events.lock().unwrap().entry(id).or_insert((Instant::now(), 0)).1 += 1;
                delivery.receipt.ack();
            }
        });
        received
    }

    async fn all(&self, ids: &[Uuid]) {
        eventually("all are received", LIMIT, async || {
            let received = self.0.lock().unwrap();
            let missing = ids.iter().filter(|id| !received.contains_key(id)).count();
            if missing == 0 { Ok(()) } else { Err(format!("{missing} of {} are not", ids.len())) }
        })
        .await;
    }

    fn times(&self) -> BTreeMap<usize, usize> {
        let mut times = BTreeMap::new();
        self.0.lock().unwrap().values().for_each(|(_, count)| *times.entry(*count).or_default() += 1);
        times
    }
}

fn bus() -> Embedded {
    let bus = Embedded::new();
    bus.ensure_topic(INTEGRATION.name);
    bus.ensure_subscription(Spec::new(INTEGRATION.subscription, INTEGRATION.name)).unwrap();
    bus
}

/// The first event of a user of its own.
fn saying(text: &str) -> AppendLine {
    line("User", Uuid::now_v7(), 0, "UserDeleted", &json!({ "note": text }))
}

async fn appended(parts: &Parts, count: usize) -> Vec<Uuid> {
    let lines: Vec<_> = (0..count).map(|_| saying("hello")).collect();
    parts.load(&lines).await;
    ids(&parts.database).await
}

async fn ids(database: &Database) -> Vec<Uuid> {
    sqlx::query_scalar("select event_id from events order by position").fetch_all(&database.pool).await.unwrap()
}

async fn cursor_at(database: &Database, position: i64) {
    eventually("the cursor is there", LIMIT, async || {
        let at = database.count(CURSOR).await;
        if at == position { Ok(()) } else { Err(at.to_string()) }
    })
    .await;
}

/// A bus that is as slow, or as stubborn, as a test wants it.
struct Odd {
    inner: bus::embedded::EmbeddedPublisher,
    pause: Duration,
    stubborn: Arc<AtomicBool>,
    /// Messages that it was ever asked to publish.
    asked: Arc<AtomicUsize>,
}

impl Publisher for Odd {
    fn publish(&self, messages: Vec<Message>) -> BoxFuture<'_, Result<(), PublishError>> {
        async move {
            self.asked.fetch_add(messages.len(), Ordering::Relaxed);
            tokio::time::sleep(self.pause).await;
            if self.stubborn.load(Ordering::Relaxed) {
                let (doing, reason) = ("publishing".to_owned(), "it does not match the schema".to_owned());
                let source = bus::Error { doing, reason, blames: Blame::Messages };
                return Err(PublishError { confirmed: 0, source });
            }
            self.inner.publish(messages).await
        }
        .boxed()
    }
}

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
    for page in lines.chunks(50) {
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
