//! `fleet migrate`: what it leaves behind, whatever it finds.

use bus::Chaos;
use event_store::proto::GetHeadRequest;
use fleet::roles;
use sqlx::{AssertSqlSafe, Executor, Row};
use tonic::Code;
use uuid::Uuid;

use crate::harness::client::{append, connect, signed_up};
use crate::harness::parts::LIMIT;
use crate::harness::{Broker, Database, Fleet, Process, Project, catalogue, eventually};

/// A newer fleet has migrated.
const TOMORROW: &str = "insert into fleet_bookkeeping.migrations values (1999, 'of tomorrow', '')";

/// The tables and schemas of a database, without what Postgres has itself.
async fn tables(database: &Database) -> Vec<String> {
    let rows = sqlx::query(
        "select schemaname || '.' || tablename as name from pg_tables
         where schemaname not in ('pg_catalog', 'information_schema')
         union all
         select nspname from pg_namespace where nspname !~ '^pg_' and nspname not in ('information_schema', 'public')
         order by name",
    );
    rows.fetch_all(&database.pool).await.unwrap().iter().map(|row| row.get("name")).collect()
}

async fn migrate(database: &Database) -> Result<Vec<String>, String> {
    roles::migrate::migrate(catalogue(), &database.pool).await.map_err(|error| format!("{error:#}"))
}

/// As an older version left it: the bookkeeping where sqlx has it.
async fn as_before(database: &Database) {
    let sql = "create table public._sqlx_migrations (
                   version bigint primary key, description text not null, installed_on timestamptz not null default now(),
                   success boolean not null, checksum bytea not null, execution_time bigint not null
               );
               insert into public._sqlx_migrations (version, description, success, checksum, execution_time)
               select version, description, true, checksum, 1 from fleet_bookkeeping.migrations;
               drop schema fleet_bookkeeping cascade";
    database.pool.execute(sql).await.unwrap();
}

#[tokio::test]
async fn migrate_says_what_it_did_and_a_second_time_that_there_was_nothing_to_do() {
    let database = Database::empty().await;
    let run = async || {
        let (status, _, said) = Process::builder("migrate").env("DATABASE_URL", &database.url).output().await;
        assert!(status.success(), "{said}");
        said
    };
    let first = run().await;
    for line in ["migration 1 (", "migration 1001 (", "projection vocabulary", "the database is up to date"] {
        assert!(first.contains(line), "{line}: {first}");
    }
    let second = run().await;
    assert!(second.contains("nothing to do") && !second.contains("migration 1"), "{second}");
}

#[tokio::test]
async fn many_migrates_at_once_migrate_once() {
    let database = Database::empty().await;
    let done = futures::future::join_all((0..4).map(|_| migrate(&database))).await;
    let busy = done.iter().filter(|done| !done.as_ref().unwrap().is_empty()).count();
    assert_eq!(busy, 1, "{done:?}");
}

#[tokio::test]
async fn the_bookkeeping_of_an_older_installation_is_taken_over() {
    let database = Database::new().await;
    let before = tables(&database).await;
    as_before(&database).await;
    assert_eq!(migrate(&database).await.unwrap(), Vec::<String>::new());
    database.pool.execute("drop table public._sqlx_migrations").await.unwrap();
    assert_eq!(tables(&database).await, before);
}

#[tokio::test]
async fn the_migrations_of_another_application_do_no_harm_and_come_to_none() {
    let empty = Database::empty().await;
    let table = "create table public._sqlx_migrations (
                     version bigint primary key, description text not null, success boolean not null, checksum bytea not null
                 );
                 insert into public._sqlx_migrations values (1, 'orders', true, '\\x01'), (1001, 'bills', true, '\\x02')";
    empty.pool.execute(table).await.unwrap();
    assert!(migrate(&empty).await.unwrap().len() > 5);
    assert_eq!(empty.count("select count(*) from public._sqlx_migrations").await, 2, "it is left alone");
}

#[tokio::test]
async fn whatever_the_search_path_is_there_is_one_store() {
    let database = Database::empty().await;
    let name: String = sqlx::query_scalar("select current_database()").fetch_one(&database.pool).await.unwrap();
    let set = async |path: &str| {
        let sql = format!("create schema if not exists {path}; alter database {name} set search_path = {path}, public");
        database.pool.execute(AssertSqlSafe(sql)).await.unwrap();
    };
    set("first").await;
    migrate(&Database::existing(&database.url)).await.unwrap();
    let before = tables(&database).await;
    set("second").await;
    let database = Database::existing(&database.url);
    assert_eq!(migrate(&database).await.unwrap(), Vec::<String>::new());
    let after: Vec<String> = tables(&database).await.into_iter().filter(|name| name != "second").collect();
    assert_eq!(after, before);
    assert_eq!(database.head().await.0, 0, "the store is found");
}

#[tokio::test]
async fn what_cannot_be_migrated_is_refused_and_left_as_it_was() {
    // An older fleet's store, in a schema of somebody's search_path.
    let elsewhere = Database::new().await;
    as_before(&elsewhere).await;
    let moved = "create schema tenant; alter table event_store_head set schema tenant;
                 alter table events set schema tenant; alter table _sqlx_migrations set schema tenant";
    elsewhere.pool.execute(moved).await.unwrap();
    // Tables of which nobody knows where they come from.
    let unrecorded = Database::new().await;
    unrecorded.pool.execute("drop schema fleet_bookkeeping cascade").await.unwrap();
    // A newer fleet was here, and this one's own migrations are not all there.
    let newer = Database::new().await;
    newer.pool.execute(TOMORROW).await.unwrap();
    newer.pool.execute("delete from fleet_bookkeeping.migrations where version = 1001").await.unwrap();
    // A migration was edited.
    let changed = Database::new().await;
    changed.pool.execute("update fleet_bookkeeping.migrations set checksum = '' where version = 1001").await.unwrap();
    // Something of another application is in the way of a later migration.
    let in_the_way = Database::empty().await;
    in_the_way.pool.execute("create table operations (theirs text)").await.unwrap();
    for (database, reason) in [
        (elsewhere, "in schema tenant"),
        (unrecorded, "says which migrations made them"),
        (newer, "newer fleet"),
        (changed, "not the one that was applied"),
        (in_the_way, "already exists"),
    ] {
        let before = tables(&database).await;
        let refusal = migrate(&database).await.unwrap_err();
        assert!(refusal.contains(reason), "{refusal}");
        assert_eq!(tables(&database).await, before, "{reason}");
    }
}

#[tokio::test]
async fn an_older_fleet_finds_nothing_to_do_where_a_newer_one_has_migrated() {
    let database = Database::new().await;
    database.pool.execute(TOMORROW).await.unwrap();
    // The newer one has dropped a projection: who goes back does not bring it again.
    database.pool.execute("delete from projection_progress; delete from projections").await.unwrap();
    let before = tables(&database).await;
    assert_eq!(migrate(&database).await.unwrap(), Vec::<String>::new());
    assert_eq!(tables(&database).await, before);
    let projections: i64 =
        sqlx::query_scalar("select count(*) from projections").fetch_one(&database.pool).await.unwrap();
    assert_eq!(projections, 0);
}

#[tokio::test]
async fn without_migrations_everybody_says_what_to_do_and_goes_on_when_it_is_done() {
    let project = Project::of(&Broker::start(Chaos::new(1)).await);
    let fleet = Fleet { database: Database::empty().await, project };
    let store = fleet.event_store().await;
    let worker = fleet.worker("integration-events", &store).await;
    for process in [&store, &worker] {
        let ready = reqwest::get(format!("http://{}/readyz", process.http())).await.unwrap();
        assert_eq!(ready.status(), 503);
        let said = ready.text().await.unwrap();
        assert!(said.contains("run `fleet migrate`"), "{said}");
    }
    let mut client = connect(&store).await;
    let user = Uuid::now_v7();
    let refusal = client.append_events(append("User", user, vec![signed_up(user)])).await.unwrap_err();
    assert_eq!(refusal.code(), Code::FailedPrecondition, "{refusal}");
    assert!(refusal.message().contains("run `fleet migrate`"), "{refusal}");
    assert_eq!(client.get_head(GetHeadRequest {}).await.unwrap_err().code(), Code::FailedPrecondition);
    eventually("the worker says what it waits for", LIMIT, async || {
        let log = worker.logged();
        if log.iter().any(|line| line.contains("run `fleet migrate`")) { Ok(()) } else { Err(format!("{log:#?}")) }
    })
    .await;

    migrate(&fleet.database).await.unwrap();
    client.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();
    eventually("it is applied", LIMIT, async || {
        match fleet.database.count("select count(*) from user_directory.users").await {
            1 => Ok(()),
            other => Err(format!("{other}: {:?}", worker.logged().last())),
        }
    })
    .await;
    for process in [&store, &worker] {
        let ready = reqwest::get(format!("http://{}/readyz", process.http())).await.unwrap();
        assert_eq!(ready.status(), 200);
    }
}

/// As it was when a read model had one topic.
const OF_ONE_TOPIC: &str = "
    delete from projection_progress where projection = 'learning_time';
    delete from projections where name = 'learning_time';
    drop schema learning_time cascade;
    alter table projection_progress drop column topic, add primary key (projection, generation);
    alter table processed_event_ids drop column topic;
    drop index parked_events_oldest_of_projection_and_topic;
    delete from fleet_bookkeeping.migrations where version = 1007;
    update projection_progress set settled_position = 7";

#[tokio::test]
async fn a_settled_position_from_before_is_that_of_the_one_topic_that_its_read_model_had() {
    let database = Database::new().await;
    database.pool.execute(OF_ONE_TOPIC).await.unwrap();
    let done = migrate(&database).await.unwrap();
    assert_eq!(done.len(), 2, "{done:?}");
    assert!(done[0].starts_with("migration 1007") && done[1] == "projection learning_time", "{done:?}");
    let rows: Vec<(String, String, i64)> =
        sqlx::query_as("select projection, topic, settled_position from projection_progress order by 1, 2")
            .fetch_all(&database.pool)
            .await
            .unwrap();
    let row = |projection: &str, topic: &str, settled| (projection.to_owned(), topic.to_owned(), settled);
    let expected = [
        row("learner_journeys", "progress-events", 7),
        row("learner_progress", "progress-events", 7),
        row("learning_time", "integration-events", 0),
        row("learning_time", "progress-events", 0),
        row("user_directory", "integration-events", 7),
        row("vocabulary", "vocabulary-events", 7),
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn a_read_model_that_listens_to_one_more_topic_is_swept_on_it_from_the_beginning() {
    let project = Project::of(&Broker::start(Chaos::new(1)).await);
    let fleet = Fleet { database: Database::new().await, project };
    let builder = fleet.process("event-store").await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0");
    let store = builder.env("FLEET_NO_RELAY", "true").start().await;
    let user = Uuid::now_v7();
    connect(&store).await.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();
    // As if it had listened to sessions only, and was long past this event.
    let before = "delete from projection_progress where projection = 'learning_time' and topic = 'integration-events';
                  update projection_progress set settled_position = 1 where projection = 'learning_time'";
    fleet.database.pool.execute(before).await.unwrap();
    let worker = fleet.worker_builder("integration-events", &store).await.env("FLEET_SWEEP_GRACE", "0").start().await;
    eventually("the worker says what it waits for", LIMIT, async || {
        let log = worker.logged();
        let waits = |line: &String| {
            line.contains("learning_time does not listen to integration-events yet: run `fleet migrate`")
        };
        if log.iter().any(waits) { Ok(()) } else { Err(format!("{log:#?}")) }
    })
    .await;
    assert_eq!(migrate(&fleet.database).await.unwrap(), ["projection learning_time listens to integration-events"]);
    eventually("it is applied", LIMIT, async || {
        match fleet.database.count("select count(*) from learning_time.learners where first_name = 'Ada'").await {
            1 => Ok(()),
            other => Err(format!("{other}: {:?}", worker.logged().last())),
        }
    })
    .await;
    assert_eq!(migrate(&fleet.database).await.unwrap(), Vec::<String>::new());
}
