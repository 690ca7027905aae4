//! What the tests stand on: one Postgres for the whole binary, emulators that some tests share, a database and a Pub/Sub
//! project for each test, and the fleet's processes.

pub mod admin;
pub mod broker;
pub mod client;
pub mod cluster;
pub mod container;
pub mod database;
pub mod expected;
pub mod front;
pub mod issuer;
pub mod otlp;
pub mod outside;
pub mod parts;
pub mod pgbouncer;
pub mod planted;
pub mod process;
pub mod proxy;
pub mod terraform;

use std::future::Future;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bus::Spec;
use bus::google::Google;
use events::Topic;
use fleet::bus_choice::Bus;
use local_servers::{Emulator, Place};
use read_model::Catalogue;
use tokio::sync::Mutex;
use uuid::Uuid;

pub use admin::Admin;
pub use broker::Broker;
pub use client::Store;
pub use database::Database;
pub use process::{Builder, Process};
use serde_json::Value;

/// The topics and read models of the sample.
pub fn catalogue() -> &'static Catalogue {
    static CATALOGUE: LazyLock<Catalogue> =
        LazyLock::new(|| projections::program().build().unwrap().catalogue().clone());
    &CATALOGUE
}

pub fn full_size() -> bool {
    std::env::var_os("FLEET_FULL_SIZE").is_some()
}

/// Waits for a condition: asks again until it holds, and fails with what it last heard if it never does.
pub async fn eventually<T, F>(what: &str, limit: Duration, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let started = Instant::now();
    loop {
        match ask().await {
            Ok(value) => return value,
            Err(last) if started.elapsed() > limit => panic!("{what}: not within {limit:?}; last: {last}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Projects that share an emulator. It never lets go of a stream whose client was killed, and is busy with all that it ever had.
const SHARING: usize = 15;

/// An emulator that some of the tests share, for as long as one of them keeps it. It must be there: nothing here is tested
/// without it.
pub async fn emulator() -> Arc<Emulator> {
    static SHARED: Mutex<Option<(Arc<Emulator>, usize)>> = Mutex::const_new(None);
    let mut shared = SHARED.lock().await;
    if let Some((emulator, projects)) = shared.as_mut().filter(|(_, projects)| *projects < SHARING) {
        *projects += 1;
        return emulator.clone();
    }
    let given = std::env::var("PUBSUB_EMULATOR_HOST").ok().filter(|host| !host.is_empty());
    let emulator = Emulator::resolve(given.as_deref(), Place::Throwaway).await.unwrap().expect(
        "these tests need Google's Pub/Sub emulator: gcloud components install pubsub-emulator (and Java), \
         or set PUBSUB_EMULATOR_HOST",
    );
    let emulator = Arc::new(emulator);
    *shared = Some((emulator.clone(), 1));
    emulator
}

/// A Pub/Sub project of a test's own, with the fleet's topics and subscriptions.
pub struct Project {
    pub name: String,
    pub google: Google,
    /// host:port of its emulator.
    pub emulator: String,
    /// Kept, because it ends with its last project.
    _kept: Option<Arc<Emulator>>,
}

impl Project {
    pub async fn new() -> Self {
        Self::on(emulator().await).await
    }

    /// A project on an emulator of its own. The emulator never lets go of a stream whose client was killed, and slows down
    /// with every message it has seen: tests that kill or that carry the whole sample do not share one.
    pub async fn apart() -> Self {
        match Emulator::resolve(None, Place::Throwaway).await.unwrap() {
            Some(own) => Self::on(Arc::new(own)).await,
            None => Self::new().await,
        }
    }

    /// A project on an emulator of its own, without a topic.
    pub async fn bare() -> Self {
        match Emulator::resolve(None, Place::Throwaway).await.unwrap() {
            Some(own) => Self::empty(Arc::new(own)),
            None => Self::shared().await,
        }
    }

    /// A project on an emulator that others share, without a topic.
    pub async fn shared() -> Self {
        Self::empty(emulator().await)
    }

    async fn on(emulator: Arc<Emulator>) -> Self {
        let project = Self::empty(emulator);
        project.bus().ensure(catalogue().topics()).await.unwrap();
        project
    }

    fn empty(kept: Arc<Emulator>) -> Self {
        let (name, emulator) = (format!("test-{}", Uuid::now_v7().simple()), kept.host().to_owned());
        let google = Google::new(&name, Some(emulator.clone()));
        Self { name, google, emulator, _kept: Some(kept) }
    }

    /// Makes a topic or a subscription (`topics/T`) out of what Pub/Sub's REST API takes.
    pub async fn put(&self, path: &str, body: &Value) {
        let request = reqwest::Client::new().put(self.rest(path)).json(body);
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {} for {body}", answer.text().await.unwrap());
    }

    /// A topic or a subscription as the emulator has it.
    pub async fn get(&self, path: &str) -> Value {
        let answer = reqwest::get(self.rest(path)).await.unwrap().error_for_status().unwrap();
        answer.json().await.unwrap()
    }

    fn rest(&self, path: &str) -> String {
        format!("http://{}/v1/projects/{}/{path}", self.emulator, self.name)
    }

    /// A project on a broker that a test can make misbehave.
    pub fn of(broker: &Broker) -> Self {
        let name = "test".to_owned();
        let google = Google::new(&name, Some(broker.host.clone()));
        Self { name, google, emulator: broker.host.clone(), _kept: None }
    }

    /// Turns the topic's subscription into one that pushes.
    pub async fn push_to(&self, topic: &Topic, endpoint: &str) {
        self.google.delete_subscription(topic.subscription).await.unwrap();
        let spec = Spec { push_endpoint: Some(endpoint.to_owned()), ..Spec::new(topic.subscription, topic.name) };
        self.google.ensure_subscription(spec).await.unwrap();
    }

    pub fn bus(&self) -> Bus {
        Bus::Google(self.google.clone())
    }
}

/// A database and a project, and the processes that work on them.
pub struct Fleet {
    pub database: Database,
    pub project: Project,
}

impl Fleet {
    pub async fn new() -> Self {
        Self { database: Database::new().await, project: Project::new().await }
    }

    /// With an emulator of its own.
    pub async fn apart() -> Self {
        Self { database: Database::new().await, project: Project::apart().await }
    }

    /// On a broker that the test brings.
    pub async fn on(broker: &Broker) -> Self {
        Self { database: Database::new().await, project: Project::of(broker) }
    }

    /// A process of the fleet with the environment that all roles share.
    pub async fn process(&self, role: &str) -> process::Builder {
        Process::builder(role)
            .env("DATABASE_URL", &self.database.url_of(role, None))
            .env("PUBSUB_EMULATOR_HOST", &self.project.emulator)
            .env("GOOGLE_CLOUD_PROJECT", &self.project.name)
            .env("FLEET_HTTP_LISTEN", "127.0.0.1:0")
    }

    pub async fn event_store(&self) -> Process {
        self.event_store_at("127.0.0.1:0").await
    }

    pub async fn event_store_at(&self, grpc: &str) -> Process {
        self.process("event-store").await.env("FLEET_GRPC_LISTEN", grpc).start().await
    }

    pub async fn worker(&self, topic: &str, store: &Process) -> Process {
        self.worker_builder(topic, store).await.start().await
    }

    pub async fn worker_builder(&self, topic: &str, store: &Process) -> process::Builder {
        self.process("worker")
            .await
            .env("DATABASE_URL", &self.database.url_of("worker", Some(topic)))
            .arg("--topic")
            .arg(topic)
            .env("FLEET_GRPC", &store.grpc())
            .env("FLEET_STREAMS", "8")
            .env("FLEET_SWEEP_GRACE", "2")
    }

    /// Waits until every read model has settled one topic so far.
    pub async fn settled(&self, topic: &str, position: i64) {
        eventually("the topic is settled", Duration::from_secs(60), async || {
            let settled = sqlx::query_scalar("select min(settled_position) from projection_progress where topic = $1");
            let settled: i64 = settled.bind(topic).fetch_one(&self.database.pool).await.unwrap();
            if settled >= position { Ok(()) } else { Err(format!("{settled} of {position}")) }
        })
        .await;
    }

    pub async fn workers(&self, store: &Process) -> Vec<Process> {
        let mut workers = Vec::new();
        for &topic in catalogue().topics() {
            workers.push(self.worker(topic.name, store).await);
        }
        workers
    }
}
