//! The parts in a process that is not the fleet's: its pool, its router and its end are those of the program around them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use event_store::proto::event_store_client::EventStoreClient;
use fleet::host::{Bus, Embedded, Gate, Parts, Worker};
use fleet::{Error, Projection, Recorded};
use projections::topics::VOCABULARY;
use projections::topics::vocabulary::VocabularyEvent;
use reqwest::StatusCode;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::harness::client::{append, connect, event};
use crate::harness::{Database, Fleet, catalogue, eventually};

#[path = "../projections/examples/host.rs"]
#[expect(dead_code, reason = "the example's own main")]
mod example;

/// Everything is slow when all cores are busy with other tests.
const LIMIT: Duration = Duration::from_secs(60);

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
    let stop = CancellationToken::new();
    let mut parts = Parts::builder(&catalogue, &database.pool).shutdown(stop.clone()).start().await.unwrap();
    let done = parts.migrate().await.unwrap();
    assert_eq!(done.last().unwrap(), "projection vocabulary");
    assert!(parts.migrate().await.unwrap().is_empty(), "the second time there is nothing to do");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let bus = Bus::Embedded(Embedded::new());
    bus.ensure(catalogue.topics()).await.unwrap();
    parts.event_store(listener, Gate::open(), Some(bus.clone()), 4).unwrap();
    parts.worker(Worker::of(&VOCABULARY, bus, &*address)).unwrap();
    let running = tokio::spawn(parts.run());

    let mut client = EventStoreClient::connect(format!("http://{address}")).await.unwrap();
    let entry = Uuid::now_v7();
    let created = event("EntryCreated", json!({"entry_id": entry, "spelling": "hermit"}));
    client.append_events(append("VocabularyEntry", entry, vec![created])).await.unwrap();
    eventually("it is applied", LIMIT, async || {
        match database.count("select count(*) from vocabulary.vocabulary_entries").await {
            1 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    stop.cancel();
    tokio::time::timeout(LIMIT, running).await.expect("they end").unwrap().unwrap();
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
    const TABLES: &'static str = "";
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
    let stop = CancellationToken::new();
    let mut parts = Parts::builder(program.catalogue(), &database.pool).shutdown(stop.clone()).start().await.unwrap();
    parts.migrate().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let bus = Bus::Embedded(Embedded::new());
    bus.ensure(program.catalogue().topics()).await.unwrap();
    parts.event_store(listener, Gate::open(), Some(bus.clone()), 4).unwrap();
    parts.worker(Worker::of(&VOCABULARY, bus, &*address)).unwrap();
    let running = tokio::spawn(parts.run());

    let mut client = EventStoreClient::connect(format!("http://{address}")).await.unwrap();
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
        client.append_events(append("VocabularyEntry", entry, vec![created])).await.unwrap();
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
    stop.cancel();
    tokio::time::timeout(LIMIT, running).await.expect("they end").unwrap().unwrap();
}

#[tokio::test]
async fn a_part_that_fails_is_named_and_ends_the_others_and_not_the_program() {
    let database = Database::empty().await;
    let program = fleet::Fleet::builder().topic(&VOCABULARY).projection::<OutOfPaint>().build().unwrap();
    let stop = CancellationToken::new();
    let builder = Parts::builder(program.catalogue(), &database.pool).shutdown(stop.clone());
    let mut parts = builder.start().await.unwrap();
    parts.migrate().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let bus = Bus::Embedded(Embedded::new());
    bus.ensure(program.catalogue().topics()).await.unwrap();
    parts.event_store(listener, Gate::open(), Some(bus.clone()), 4).unwrap();
    parts.worker(Worker::of(&VOCABULARY, bus, &*address)).unwrap();
    let running = tokio::spawn(parts.run());

    let mut client = EventStoreClient::connect(format!("http://{address}")).await.unwrap();
    let entry = Uuid::now_v7();
    let created = event("EntryCreated", json!({"entry_id": entry, "spelling": "brush"}));
    client.append_events(append("VocabularyEntry", entry, vec![created])).await.unwrap();
    let ended = tokio::time::timeout(LIMIT, running).await.expect("they end").unwrap().unwrap_err().to_string();
    assert!(ended.starts_with("the worker of vocabulary-events") && ended.ends_with("out of paint"), "{ended}");
    assert!(EventStoreClient::connect(format!("http://{address}")).await.is_err(), "the event store has ended too");
    assert!(!stop.is_cancelled(), "what that means for the program, it decides");
}

/// Read models that differ in their tables.
macro_rules! shaped {
    ($type:ident, $name:literal, $version:literal, $tables:literal) => {
        struct $type;

        impl Projection for $type {
            const NAME: &'static str = $name;
            const VERSION: u32 = $version;
            const TABLES: &'static str = $tables;
            type Event = VocabularyEvent;
            type Changes = ();

            fn fold(_: &mut (), _: &Recorded<VocabularyEvent>) {}

            async fn write(_: (), _: &mut PgConnection) -> Result<(), Error> {
                Ok(())
            }
        }
    };
}

shaped!(
    Trespasser,
    "trespasser",
    1,
    "create table own (id int primary key); create table public.shared (id int primary key)"
);
shaped!(Wanderer, "wanderer", 1, "create table nowhere.own (id int primary key)");
shaped!(Shaped, "shaped", 1, "create table own (id int primary key, text text)");
shaped!(Reshaped, "shaped", 1, "create table own (id int primary key, text text not null, more int)");
shaped!(Raised, "shaped", 2, "create table own (id int primary key)");
shaped!(
    Ruled,
    "shaped",
    1,
    "create table own (id int primary key, text text default 'none', constraint positive check (id > 0));
     create view shaped as select shaped.id from own as shaped"
);
shaped!(
    Unruled,
    "shaped",
    1,
    "create table own (id int primary key, text text default 'some');
     create view shaped as select shaped.id from own as shaped where id > 1"
);
shaped!(Unlogged, "unlogged", 1, "create unlogged table own (id int primary key)");
shaped!(
    Stale,
    "stale",
    1,
    "create table own (id int primary key); create materialized view all_of_it as select * from own"
);
shaped!(Leaning, "leaning", 1, "create view own as select id from shaped.own");
shaped!(Bound, "bound", 1, "create table own (id int references shaped.own)");
shaped!(Misspelt, "misspelt", 1, "create table own (id int);\ncreate tabel more (id int)");

/// Whoever makes something on the tables of another read model would go on reading a generation of it that is dropped one day.
#[tokio::test]
async fn tables_that_rest_on_those_of_another_read_model_are_refused() {
    let database = Database::empty().await;
    let of = |built: fleet::Builder| built.build().unwrap();
    let migrate = async |program: fleet::Fleet| {
        let parts = Parts::builder(program.catalogue(), &database.pool).start().await.unwrap();
        parts.migrate().await.map_err(|error| format!("{:#}", anyhow::Error::from(error)))
    };
    let begin = || fleet::Fleet::builder().topic(&VOCABULARY);
    migrate(of(begin().projection::<Shaped>())).await.unwrap();
    for (name, program) in [("leaning", begin().projection::<Leaning>()), ("bound", begin().projection::<Bound>())] {
        let refused = migrate(of(program.projection::<Shaped>())).await.unwrap_err();
        let said = format!("the tables of {name} rest on those of shaped, another read model");
        assert!(refused.contains(&said), "{refused}");
    }
    // Of both that are new, too.
    let empty = Database::empty().await;
    let program = of(begin().projection::<Shaped>().projection::<Bound>());
    let parts = Parts::builder(program.catalogue(), &empty.pool).start().await.unwrap();
    let refused = format!("{:#}", anyhow::Error::from(parts.migrate().await.unwrap_err()));
    assert!(refused.contains("the tables of bound rest on those of shaped"), "{refused}");
    let refused = migrate(of(begin().projection::<Misspelt>())).await.unwrap_err();
    assert!(refused.contains("the tables of misspelt, line 2: syntax error at or near \"tabel\""), "{refused}");
}

/// Rows that Postgres does not keep, or that nobody writes.
#[tokio::test]
async fn tables_that_lose_rows_are_refused() {
    let database = Database::empty().await;
    let begin = || fleet::Fleet::builder().topic(&VOCABULARY);
    for (program, said) in [
        (
            begin().projection::<Unlogged>(),
            "among the tables of unlogged is the unlogged table own, which Postgres empties",
        ),
        (begin().projection::<Stale>(), "among the tables of stale is the materialized view all_of_it, which nobody"),
    ] {
        let program = program.build().unwrap();
        let parts = Parts::builder(program.catalogue(), &database.pool).start().await.unwrap();
        let refused = format!("{:#}", anyhow::Error::from(parts.migrate().await.unwrap_err()));
        assert!(refused.contains(said), "{refused}");
    }
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
    let stop = CancellationToken::new();
    let mut parts = Parts::builder(program.catalogue(), &database.pool).shutdown(stop.clone()).start().await.unwrap();
    parts.migrate().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let bus = Bus::Embedded(Embedded::new());
    bus.ensure(program.catalogue().topics()).await.unwrap();
    parts.event_store(listener, Gate::open(), Some(bus.clone()), 4).unwrap();
    parts.worker(Worker::of(&VOCABULARY, bus, &*address)).unwrap();
    let running = tokio::spawn(parts.run());
    let mut client = EventStoreClient::connect(format!("http://{address}")).await.unwrap();
    for seen in 1..=30 {
        let entry = Uuid::now_v7();
        let created = event("EntryCreated", json!({"entry_id": entry, "spelling": "antipodes"}));
        client.append_events(append("VocabularyEntry", entry, vec![created])).await.unwrap();
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
    stop.cancel();
    tokio::time::timeout(LIMIT, running).await.expect("they end").unwrap().unwrap();
}

/// What `fleet dev` warns of: an author has changed the tables, and not the version.
#[tokio::test]
async fn tables_that_were_changed_without_the_version_are_named() {
    let database = Database::empty().await;
    let pool = &database.pool;
    let program = |built: fleet::Builder| built.build().unwrap();
    let shaped = program(fleet::Fleet::builder().topic(&VOCABULARY).projection::<Shaped>());
    let reshaped = program(fleet::Fleet::builder().topic(&VOCABULARY).projection::<Reshaped>());
    let raised = program(fleet::Fleet::builder().topic(&VOCABULARY).projection::<Raised>());
    let differs = async |program: &fleet::Fleet| {
        workers::generations::shape::differs(pool, program.catalogue().projection("shaped").unwrap()).await.unwrap()
    };
    Parts::builder(shaped.catalogue(), pool).start().await.unwrap().migrate().await.unwrap();
    assert_eq!(differs(&shaped).await, "");
    assert_eq!(differs(&reshaped).await, "own.more, own.text");
    assert_eq!(differs(&raised).await, "", "it is built anew");
    sqlx::raw_sql(
        "alter table shaped.own alter text set default 'none', add constraint positive check (id > 0);
         create view shaped.shaped as select shaped.id from shaped.own as shaped",
    )
    .execute(pool)
    .await
    .unwrap();
    let ruled = program(fleet::Fleet::builder().topic(&VOCABULARY).projection::<Ruled>());
    let unruled = program(fleet::Fleet::builder().topic(&VOCABULARY).projection::<Unruled>());
    assert_eq!(differs(&ruled).await, "");
    assert_eq!(differs(&unruled).await, "own.positive, own.text, shaped");
    let left: i64 = sqlx::query_scalar("select count(*) from pg_namespace where nspname like 'shaped%'")
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(left, 1, "what was made to compare it with is gone");
}

#[tokio::test]
async fn a_table_in_a_schema_that_is_not_there_is_to_be_made_without_naming_one() {
    let database = Database::empty().await;
    let program = fleet::Fleet::builder().topic(&VOCABULARY).projection::<Wanderer>().build().unwrap();
    let parts = Parts::builder(program.catalogue(), &database.pool).start().await.unwrap();
    let refused = format!("{:#}", anyhow::Error::from(parts.migrate().await.unwrap_err()));
    let said = "the tables of wanderer are to be made without naming a schema, because each generation has its own: \
                schema \"nowhere\" does not exist";
    assert!(refused.contains(said), "{refused}");
}

#[tokio::test]
async fn tables_outside_of_the_schema_of_their_generation_are_refused_and_named() {
    let database = Database::empty().await;
    let program = fleet::Fleet::builder().topic(&VOCABULARY).projection::<Trespasser>().build().unwrap();
    let parts = Parts::builder(program.catalogue(), &database.pool).start().await.unwrap();
    let refused = format!("{:#}", anyhow::Error::from(parts.migrate().await.unwrap_err()));
    assert!(refused.contains("trespasser") && refused.contains("public.shared"), "{refused}");
    assert!(!refused.contains("trespasser.own"), "{refused}");
    let mut db = database.pool.acquire().await.unwrap();
    let by_the_kit = read_model::testing::Generation::<Trespasser>::create(&mut db).await.err().unwrap().to_string();
    assert!(by_the_kit.contains("public.shared"), "{by_the_kit}");
    let left: Option<String> =
        sqlx::query_scalar("select to_regclass('public.shared')::text").fetch_one(&mut *db).await.unwrap();
    assert_eq!(left, None);
}
