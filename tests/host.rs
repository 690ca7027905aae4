//! The parts in a process that is not the fleet's: its pool, its router and its end are those of the program around them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use event_store::proto::NewEvent;
use event_store::proto::event_store_client::EventStoreClient;
use fleet::host::{Bus, Embedded, Ended, Gate, Parts, Worker};
use fleet::{Error, Projection, Recorded};
use projections::topics::VOCABULARY;
use projections::topics::vocabulary::VocabularyEvent;
use read_model::Catalogue;
use reqwest::StatusCode;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::harness::client::{append, connect, event};
use crate::harness::{Database, Fleet, catalogue, eventually};

#[path = "../projections/examples/host.rs"]
#[expect(dead_code, reason = "the example's own main")]
mod example;

/// Everything is slow when all cores are busy with other tests.
const LIMIT: Duration = Duration::from_secs(60);

/// An event store and the worker of one topic, in the process of the test.
struct Hosted {
    address: String,
    stop: CancellationToken,
    running: JoinHandle<Result<(), Ended>>,
}

impl Hosted {
    async fn of(catalogue: &Catalogue, database: &Database) -> Self {
        let stop = CancellationToken::new();
        let mut parts = Parts::builder(catalogue, &database.pool).shutdown(stop.clone()).start().await.unwrap();
        parts.migrate().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let bus = Bus::Embedded(Embedded::new());
        bus.ensure(catalogue.topics()).await.unwrap();
        parts.event_store(listener, Gate::open(), Some(bus.clone()), 4).unwrap();
        parts.worker(Worker::of(&VOCABULARY, bus, &*address)).unwrap();
        Self { address, stop, running: tokio::spawn(parts.run()) }
    }

    async fn connect(&self) -> Result<EventStoreClient<Channel>, tonic::transport::Error> {
        EventStoreClient::connect(format!("http://{}", self.address)).await
    }

    async fn append(&self, entry: Uuid, created: NewEvent) {
        let append = append("VocabularyEntry", entry, vec![created]);
        self.connect().await.unwrap().append_events(append).await.unwrap();
    }

    async fn ended(&mut self) -> Result<(), Ended> {
        tokio::time::timeout(LIMIT, &mut self.running).await.expect("they end").unwrap()
    }

    async fn end(mut self) {
        self.stop.cancel();
        self.ended().await.unwrap();
    }
}

async fn get(url: &str) -> (StatusCode, String) {
    let answer = reqwest::get(url).await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

#[tokio::test]
async fn a_worker_within_a_foreign_service_applies_shows_itself_and_ends_with_the_service() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let pool = PgPool::connect_lazy(&fleet.database.url).unwrap();
    let service = example::Service { pool, listener, bus: fleet.project.bus(), event_store: store.grpc() };
    let stop = CancellationToken::new();
    let serving = tokio::spawn(service.serve(stop.clone()));

    let entry = Uuid::now_v7();
    let created = event("EntryCreated", json!({"entry_id": entry, "spelling": "hospitality"}));
    connect(&store).await.append_events(append("VocabularyEntry", entry, vec![created])).await.unwrap();
    eventually("the service knows the word", LIMIT, async || match get(&format!("{base}/words/hospitality")).await {
        (StatusCode::OK, senses) if senses == "0" => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(get(&format!("{base}/words/nobody-said-it")).await.0, StatusCode::NOT_FOUND);
    let (_, metrics) = get(&format!("{base}/fleet/metrics")).await;
    assert!(metrics.contains(r#"projection="vocabulary",result="applied",topic="vocabulary-events"} 1"#), "{metrics}");
    assert_eq!(get(&format!("{base}/fleet/readyz")).await, (StatusCode::OK, "ready\n".to_owned()));

    stop.cancel();
    tokio::time::timeout(LIMIT, serving).await.expect("it ends").unwrap().unwrap();
    assert!(reqwest::get(format!("{base}/fleet/healthz")).await.is_err());
}

#[tokio::test]
async fn an_event_store_and_a_worker_in_one_program_need_no_other_process() {
    let database = Database::empty().await;
    let catalogue = catalogue().of(&VOCABULARY);
    let parts = Parts::builder(&catalogue, &database.pool).start().await.unwrap();
    let done = parts.migrate().await.unwrap();
    assert_eq!(done.last().unwrap(), "projection vocabulary");
    assert!(parts.migrate().await.unwrap().is_empty(), "the second time there is nothing to do");
    let hosted = Hosted::of(&catalogue, &database).await;

    let entry = Uuid::now_v7();
    let created = event("EntryCreated", json!({"entry_id": entry, "spelling": "hermit"}));
    hosted.append(entry, created).await;
    eventually("it is applied", LIMIT, async || {
        match database.count("select count(*) from vocabulary.vocabulary_entries").await {
            1 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    hosted.end().await;
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_before_anything_is_lost() {
    let database = Database::new().await;
    let mut parts = Parts::builder(catalogue(), &database.pool).start().await.unwrap();
    let bus = Bus::Embedded(Embedded::new());
    let refused = parts.worker(Worker::of(&VOCABULARY, bus, "not an address")).unwrap_err();
    assert_eq!(refused.to_string(), r#""not an address" is not host:port"#);
}

/// A read model that cannot even begin.
struct OutOfPaint;

struct Broken;

impl Default for Broken {
    fn default() -> Self {
        panic!("out of paint")
    }
}

impl Projection for OutOfPaint {
    const NAME: &'static str = "out_of_paint";
    const VERSION: u32 = 1;
    const TABLES: &'static str = "create table nothing (id int primary key)";
    type Event = VocabularyEvent;
    type Changes = Broken;

    fn fold(_: &mut Broken, _: &Recorded<VocabularyEvent>) {}

    async fn write(_: Broken, _: &mut PgConnection) -> Result<(), Error> {
        Ok(())
    }
}

/// Writes the ids of entries, and only one of the two ever comes back from it.
struct Spinning;
struct Calm;

static RELEASED: AtomicBool = AtomicBool::new(false);

/// Also if the test fails, or its threads would never end.
struct Release;

impl Drop for Release {
    fn drop(&mut self) {
        RELEASED.store(true, Ordering::Relaxed);
    }
}

macro_rules! entries {
    ($type:ident, $name:literal, $before:expr) => {
        impl Projection for $type {
            const NAME: &'static str = $name;
            const VERSION: u32 = 1;
            const TABLES: &'static str = "create table entries (entry_id uuid primary key)";
            type Event = VocabularyEvent;
            type Changes = BTreeSet<Uuid>;

            fn fold(changes: &mut Self::Changes, event: &Recorded<VocabularyEvent>) {
                changes.insert(event.aggregate_id.0);
            }

            async fn write(changes: Self::Changes, db: &mut PgConnection) -> Result<(), Error> {
                $before();
                let entries: Vec<_> = changes.into_iter().collect();
                sqlx::query("insert into entries select * from unnest($1::uuid[]) on conflict do nothing")
                    .bind(entries)
                    .execute(db)
                    .await?;
                Ok(())
            }
        }
    };
}
entries!(Spinning, "spinning", || {
    while !RELEASED.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(10));
    }
});
entries!(Calm, "calm", || {});

/// Nothing can take back the thread that it keeps; it keeps no other, and the threads that are left are woken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_never_comes_back_holds_up_its_own_read_model_only() {
    let release = Release;
    // Were all threads kept, not even this test would end.
    std::thread::spawn(|| {
        std::thread::sleep(2 * LIMIT);
        drop(Release);
    });
    workers::watch::begin();
    let database = Database::empty().await;
    let program = fleet::Fleet::builder().topic(&VOCABULARY).projection::<Spinning>().projection::<Calm>();
    let program = program.build().unwrap();
    let hosted = Hosted::of(program.catalogue(), &database).await;

    let rows = async |count: &'static str, wanted: i64| {
        eventually("it is applied", LIMIT, async || match database.count(count).await {
            count if count == wanted => Ok(()),
            other => Err(format!("{count}: {other}")),
        })
        .await;
    };
    let projections = program.catalogue().projections().to_vec();
    for seen in 1..=3 {
        let entry = Uuid::now_v7();
        let created = event("EntryCreated", json!({"entry_id": entry, "spelling": "merry-go-round"}));
        hosted.append(entry, created).await;
        rows("select count(*) from calm.entries", seen).await;
        eventually("it is said what holds the other up", LIMIT, async || {
            let report = workers::lag::report(&database.pool, &projections).await.map_err(|error| error.to_string())?;
            let status = report.projections.into_iter().find(|status| status.name == "spinning").ok_or("none")?;
            match status.failure {
                Some(failure) if failure.error.starts_with("its write at position 1 does not come back") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
    assert_eq!(database.count("select count(*) from spinning.entries").await, 0);
    drop(release);
    rows("select count(*) from spinning.entries", 3).await;
    hosted.end().await;
}

#[tokio::test]
async fn a_part_that_fails_is_named_and_ends_the_others_and_not_the_program() {
    let database = Database::empty().await;
    let program = fleet::Fleet::builder().topic(&VOCABULARY).projection::<OutOfPaint>().build().unwrap();
    let mut hosted = Hosted::of(program.catalogue(), &database).await;

    let entry = Uuid::now_v7();
    let created = event("EntryCreated", json!({"entry_id": entry, "spelling": "brush"}));
    hosted.append(entry, created).await;
    let ended = hosted.ended().await.unwrap_err().to_string();
    assert!(ended.starts_with("the worker of vocabulary-events") && ended.ends_with("out of paint"), "{ended}");
    assert!(hosted.connect().await.is_err(), "the event store has ended too");
    assert!(!hosted.stop.is_cancelled(), "what that means for the program, it decides");
}

/// One sets what it should not, for the session; the other writes down what it finds there, in a type of its own.
struct Setting;
struct Seeing;

macro_rules! zones {
    ($type:ident, $name:literal, $before:literal) => {
        impl Projection for $type {
            const NAME: &'static str = $name;
            const VERSION: u32 = 1;
            const TABLES: &'static str = "create type day as enum ('2026-11-22', '2026-11-23');
                                          create table days (day day, entry_id uuid, live int, fold int, t int, shown int,
                                                             primary key (day, entry_id))";
            type Event = VocabularyEvent;
            type Changes = BTreeSet<Uuid>;

            fn fold(changes: &mut Self::Changes, event: &Recorded<VocabularyEvent>) {
                changes.insert(event.aggregate_id.0);
            }

            async fn write(changes: Self::Changes, db: &mut PgConnection) -> Result<(), Error> {
                sqlx::query($before).execute(&mut *db).await?;
                let entries: Vec<_> = changes.into_iter().collect();
                sqlx::query(
                    "insert into days
                     select (timestamptz '2026-11-22 23:30Z')::date::text::day, entry_id from unnest($1::uuid[]) as entry_id
                     on conflict do nothing",
                )
                .bind(entries)
                .execute(db)
                .await?;
                Ok(())
            }
        }
    };
}
zones!(Setting, "setting", "set time zone 'Pacific/Auckland'");
zones!(Seeing, "seeing", "select 1");

/// What one read model's write sets for its session, another's does not find; and what it makes of types of its own is compared.
#[tokio::test]
async fn a_write_does_not_reach_another_read_model_and_types_of_its_own_are_verified() {
    let database = Database::empty().await;
    let program = fleet::Fleet::builder().topic(&VOCABULARY).projection::<Setting>().projection::<Seeing>();
    let program = program.build().unwrap();
    let hosted = Hosted::of(program.catalogue(), &database).await;
    for seen in 1..=30 {
        let entry = Uuid::now_v7();
        let created = event("EntryCreated", json!({"entry_id": entry, "spelling": "antipodes"}));
        hosted.append(entry, created).await;
        eventually("both have it", LIMIT, async || {
            let both = "select least((select count(*) from setting.days), (select count(*) from seeing.days))";
            match database.count(both).await {
                count if count == seen => Ok(()),
                other => Err(format!("{other}")),
            }
        })
        .await;
    }
    assert_eq!(database.count("select count(*) from seeing.days where day <> '2026-11-22'").await, 0);
    let by = workers::audit::Attribution { actor: "ada".to_owned(), reason: "a test".to_owned() };
    let seeing = program.catalogue().projection("seeing").unwrap();
    for wrong in [false, true] {
        if wrong {
            sqlx::query("update seeing.days set day = '2026-11-23' where entry_id = (select min(entry_id::text)::uuid from seeing.days)")
                .execute(&database.pool)
                .await
                .unwrap();
        }
        let operation = workers::generations::verify::ask(&database.pool, seeing, &by, None).await.unwrap();
        let result = eventually("it has been compared", LIMIT, async || {
            let now = workers::operations::get(&database.pool, operation).await.unwrap().unwrap();
            now.result.map(|result| result.0).ok_or_else(|| format!("{:?} {:?}", now.state, now.error))
        })
        .await;
        assert_eq!(result["equal"], !wrong, "{result}");
    }
    hosted.end().await;
}
