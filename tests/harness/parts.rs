//! The fleet's parts within the test: no process and no bus between it and Postgres, so that it says what happens when.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use event_store::Metrics as StoreMetrics;
use event_store::append::{Append, Appended, Appender, Config, Error, EventAsSent};
use event_store::read::{self, Filter};
use event_store::tail::Head;
use event_store::validate::printed;
use events::{AggregateId, AppendLine, EventLine, Position, Topic, Version};
use fleet::roles;
use prometheus::Registry;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use sqlx::{PgPool, Row};
use tokio_util::sync::CancellationToken;
use workers::Metrics;
use workers::apply::{self, Applier, Mode, Tally};
use workers::losses;
use workers::sweep::Sweep;
use workers::verdict::Event;

use super::{Database, catalogue};
use crate::histories::History;
use crate::oracle::{self, Held};

/// Everything is slow when all cores are busy with other tests.
pub const LIMIT: Duration = Duration::from_secs(120);

pub struct Parts {
    pub database: Database,
    pub appender: Appender,
    /// Of all projections, on each topic that they listen to.
    pub appliers: Vec<Applier>,
}

impl Parts {
    pub async fn new() -> Self {
        let database = Database::new().await;
        let url = database.url.clone();
        Self::reaching(database, &url)
    }

    /// Whose appender and appliers reach the database by another way.
    pub fn reaching(database: Database, url: &str) -> Self {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let pool = roles::applying_pool(url, 12).unwrap();
        let applier = |projection, topic| Applier::new(projection, topic, pool.clone(), metrics.clone());
        let of_topic = |topic: &'static Topic| (topic, catalogue().listening_to(topic));
        let listening = catalogue().topics().iter().map(|topic| of_topic(topic));
        let appliers = listening.flat_map(|(topic, all)| all.into_iter().map(move |it| (it, topic)));
        let appliers = appliers.map(|(projection, topic)| applier(projection, topic)).collect();
        let config = Config::new(database::options(url).unwrap());
        let (appender, _) = Appender::start(config, Head::default(), StoreMetrics::register(&registry).unwrap());
        Self { database, appender, appliers }
    }

    /// Of a projection, on the first of its topics.
    pub fn applier(&self, projection: &str) -> &Applier {
        self.appliers.iter().find(|applier| applier.projection.name() == projection).unwrap()
    }

    pub fn applier_on(&self, projection: &str, topic: &Topic) -> &Applier {
        let is = |applier: &&Applier| applier.projection.name() == projection && applier.topic == topic;
        self.appliers.iter().find(is).unwrap()
    }

    pub async fn append(&self, line: &AppendLine) -> Result<Vec<Appended>, Error> {
        self.appender.append(request(line)).await
    }

    /// Appends in this order; all of it must succeed.
    pub async fn load(&self, lines: &[AppendLine]) {
        for page in lines.chunks(400) {
            let mut answers = Vec::new();
            for line in page {
                answers.push(self.appender.enqueue(request(line)).await.unwrap());
            }
            for answer in answers {
                answer.await.unwrap().unwrap();
            }
        }
    }

    /// A history of so many events, in the store.
    pub async fn with_history(seed: u64, events: usize) -> (Self, History) {
        let parts = Self::new().await;
        let history = History::of(seed, events);
        parts.load(&history.lines).await;
        (parts, history)
    }

    /// The events after a position.
    pub async fn events(&self, mut after: Position) -> Vec<Event> {
        let head = self.database.head().await;
        let mut events = Vec::new();
        while after < head {
            let page = read::page(&self.database.pool, after, head, 5000, &Filter::default()).await.unwrap();
            events.extend(Event::all(page.events, page.unreadable));
            after = page.upto;
        }
        events
    }

    /// Has each projection apply those of its topic.
    pub async fn apply(&self, events: &[Event], mode: Mode) -> Result<Tally, apply::Error> {
        let mut tally = Tally::default();
        for applier in &self.appliers {
            tally += apply(applier, events, mode).await?;
        }
        Ok(tally)
    }

    /// Has the sweep finish what is left, without grace.
    pub async fn sweep(&self) {
        let head = self.database.head().await;
        let stop = CancellationToken::new();
        let mut sweeps = tokio::task::JoinSet::new();
        for applier in &self.appliers {
            let sweep = Sweep { applier: applier.clone(), head: Head::default(), grace: Duration::ZERO };
            sweeps.spawn(sweep.run(stop.clone()));
        }
        self.database.settled(head.0, LIMIT).await;
        stop.cancel();
        sweeps.join_all().await;
    }

    /// Everything is applied that can be, and is what the store folds to.
    pub async fn converge(&self, held: &Held) {
        self.sweep().await;
        oracle::assert_equal_but(&self.database.pool, held).await;
        consistent(&self.database.pool).await;
        for applier in &self.appliers {
            let whole =
                losses::count(&self.database.pool, applier.projection, applier.topic, None, LIMIT).await.unwrap();
            assert!(whole.is_whole() && whole.next.is_none(), "{whole:?}");
        }
        assert_eq!(self.database.count("select count(*) from processed_event_ids").await, 0);
    }
}

/// Applies those of the projection's topic.
pub async fn apply(applier: &Applier, events: &[Event], mode: Mode) -> Result<Tally, apply::Error> {
    let types = applier.topic.aggregate_types;
    let ours: Vec<Event> =
        events.iter().filter(|event| types.contains(&event.data.aggregate_type.as_str())).cloned().collect();
    applier.apply(&ours, mode).await
}

/// At any moment, whatever has just broken: the rows of the read models are what the versions that the ledger calls
/// applied fold to, and the ids that are remembered are those of applied events, all of them above the settled position.
/// Returns those versions.
pub async fn consistent(pool: &PgPool) -> Applied {
    // Versions only rise: if they are the same afterwards, nobody wrote in between.
    let mut before = applied(pool).await;
    loop {
        let mut held = Held::default();
        for ((projection, aggregate), version) in &before {
            held.after(catalogue().projection(projection).unwrap().name(), *aggregate, (*version).into());
        }
        let holds = oracle::holds(pool, &held).await;
        let after = applied(pool).await;
        if after == before {
            holds.unwrap_or_else(|difference| panic!("{difference}"));
            break;
        }
        before = after;
    }

    let mut known = HashSet::new();
    let topics = catalogue().topics().iter();
    let (types, topics): (Vec<_>, Vec<_>) =
        topics.flat_map(|topic| topic.aggregate_types.iter().map(|carried| (*carried, topic.name))).unzip();
    let ids = sqlx::query(include_str!("ids.sql")).bind(types).bind(topics);
    for row in ids.fetch_all(pool).await.unwrap() {
        known.insert((row.get::<String, _>("projection"), row.get::<i64, _>("position"), row.get::<String, _>("what")));
    }
    assert_eq!(known, HashSet::new(), "ids and versions say the same");
    before
}

/// The version of each aggregate in each projection.
pub type Applied = BTreeMap<(String, uuid::Uuid), i32>;

/// The version of each aggregate of the store in each projection; 0: nothing is applied.
async fn applied(pool: &PgPool) -> Applied {
    let rows = sqlx::query(
        "select projection.name, event.aggregate_id, coalesce(max(known.version), 0) as version
         from projections as projection
         cross join (select distinct aggregate_id from events) as event
         left join projected_aggregates as known
             on known.projection = projection.name
             and known.generation = projection.generation
             and known.aggregate_id = event.aggregate_id
         group by projection.name, event.aggregate_id",
    );
    let rows = rows.fetch_all(pool).await.unwrap();
    rows.iter().map(|row| ((row.get("name"), row.get("aggregate_id")), row.get("version"))).collect()
}

pub fn request(line: &AppendLine) -> Append {
    let events: Vec<_> = line.events.iter().map(as_sent).collect();
    let mut append = Append::new(line.aggregate_id, &*line.aggregate_type, line.expected_version, &events);
    append.idempotency_key.clone_from(&line.idempotency_key);
    append
}

fn as_sent(event: &EventLine) -> EventAsSent<'_> {
    let EventLine { event_id, event_type, event_data, metadata, occurred_at } = event;
    let (event_data, metadata) = (event_data.get(), metadata.get());
    let bytes = printed::bytes(event_data).unwrap() + printed::bytes(metadata).unwrap();
    EventAsSent { event_id: *event_id, event_type, event_data, metadata, occurred_at: Some(*occurred_at), bytes }
}

/// A line of one event.
pub fn line(
    kind: &str,
    aggregate: uuid::Uuid,
    expected: i32,
    event_type: &str,
    data: &serde_json::Value,
) -> AppendLine {
    let raw = |value: &serde_json::Value| serde_json::value::to_raw_value(value).unwrap();
    AppendLine {
        aggregate_id: AggregateId(aggregate),
        aggregate_type: kind.to_owned(),
        expected_version: Some(Version(expected)),
        idempotency_key: None,
        events: vec![events::EventLine {
            event_id: None,
            event_type: event_type.to_owned(),
            event_data: raw(data),
            metadata: raw(&serde_json::json!({"schema_version": if event_type == "UserSignedUp" { 2 } else { 1 }})),
            occurred_at: chrono::Utc::now(),
        }],
    }
}

/// As a bus may bring them: each up to `copies` times, in no order, some never.
pub fn disorder(events: &[Event], copies: usize, lose: f64, rng: &mut StdRng) -> Vec<Event> {
    let mut deliveries = Vec::new();
    for event in events {
        if !rng.random_bool(lose) {
            deliveries.extend(std::iter::repeat_n(event.clone(), rng.random_range(1..=copies)));
        }
    }
    deliveries.shuffle(rng);
    deliveries
}
