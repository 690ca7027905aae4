//! Each role of the fleet is a user of Postgres that may do what its statements need. That it is enough, every other test says:
//! the harness starts each role as its user. That it is no more, these say.

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use uuid::Uuid;

use crate::harness::client::{append, connect, event};
use crate::harness::database::user_of;
use crate::harness::parts::LIMIT;
use crate::harness::{Database, Fleet, Process, eventually};

/// `insufficient_privilege`
const FORBIDDEN: &str = "42501";

async fn refused(db: &mut PgConnection, sql: &str) -> Option<String> {
    let mut tx = db.begin().await.unwrap();
    let tried = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut *tx).await;
    tx.rollback().await.unwrap();
    tried.err()?.as_database_error().and_then(|error| error.code().map(Into::into))
}

#[tokio::test]
async fn what_a_user_has_no_duty_for_it_is_refused() {
    let fleet = Fleet::new().await;
    let store = user_of("event-store", None).unwrap();
    let admin = user_of("admin", None).unwrap();
    let worker = user_of("worker", Some("progress-events")).unwrap();
    // Nobody changes what has happened, nor what was written down about who did what, nor the tables.
    let nobodys = [
        "update events set event_data = '{}'",
        "delete from events",
        "truncate events",
        "alter table events disable trigger all",
        "update audit_log set actor = 'mallory'",
        "delete from audit_log",
        "truncate audit_log",
        "drop table operations",
        "create table public.mine ()",
        "create or replace function refuse_to_change_events() returns trigger language sql as 'select 1'",
        "update fleet_bookkeeping.migrations set checksum = ''",
        "insert into projections (name, topic, version, schema_name) values ('x', 'y', 1, 'public')",
        "delete from projections",
        "copy events to program 'true'",
        "select pg_read_file('postgresql.conf')",
    ];
    let own: [(&str, &[&str]); 4] = [
        (
            &store,
            &[
                "select from vocabulary.vocabulary_entries",
                "insert into parked_events select from parked_events",
                "update operations_stop set stopped_at = null",
                "insert into audit_log (id) values (gen_random_uuid())",
                "create schema mine",
                "drop schema vocabulary cascade",
                "set role fleet_admin",
            ],
        ),
        (
            &admin,
            &[
                "insert into events select from events",
                "update event_store_head set position = 0",
                "insert into idempotency_keys select from idempotency_keys",
                "update relay_cursors set position = 0",
                "delete from parked_events",
                "update projection_progress set settled_position = 0",
                "delete from processed_event_ids",
                "delete from vocabulary.entries",
                "update vocabulary.entries set spelling = ''",
                "lock table vocabulary.entries in share mode",
                "create schema mine",
                "alter schema vocabulary rename to mine",
                "drop schema vocabulary cascade",
            ],
        ),
        (
            &worker,
            &[
                "insert into events select from events",
                "update event_store_head set position = 0",
                "delete from idempotency_keys",
                "update relay_cursors set position = 0",
                "delete from operations",
                "delete from generations",
                "select prune_audit_log(now() - interval '100 days', 1)",
                "select from user_directory.users",
                "update user_directory.users set email = ''",
                "alter schema user_directory rename to mine",
                "drop schema user_directory cascade",
                "set role fleet_event_store",
            ],
        ),
        (
            "fleet_consumer",
            &[
                "select from events",
                "select from parked_events",
                "select from operations",
                "insert into operations_stop select from operations_stop",
                "select from user_directory.users",
                "delete from vocabulary.entries",
                "create schema mine",
            ],
        ),
    ];
    let mut count = 0;
    for (user, statements) in own {
        let mut db = PgConnection::connect(&fleet.database.url_as(user)).await.unwrap();
        for sql in nobodys.iter().chain(statements) {
            assert_eq!(refused(&mut db, sql).await.as_deref(), Some(FORBIDDEN), "{user}: {sql}");
            count += 1;
        }
    }
    println!("{count} statements were refused");

    // The audit log of the last month stays, also for whoever prunes.
    let mut db = PgConnection::connect(&fleet.database.url_as(&store)).await.unwrap();
    let too_young = refused(&mut db, "select prune_audit_log(now() - interval '29 days', 1000)").await;
    assert_eq!(too_young.as_deref(), Some("23514"));
    assert_eq!(refused(&mut db, "select prune_audit_log(now() - interval '31 days', 1000)").await, None);
}

/// Who would only try again and again is not taken for ready.
#[tokio::test]
async fn a_role_whose_user_lacks_a_right_is_not_ready_and_says_what_gives_it() {
    let fleet = Fleet::new().await;
    let worker = user_of("worker", Some("progress-events")).unwrap();
    for (role, user, says) in [
        (
            "worker",
            "fleet_consumer",
            "may not read the tables of the fleet: run `fleet migrate --grant worker:vocabulary-events=USER`",
        ),
        ("admin", &*worker, "run `fleet migrate --grant admin=USER`"),
        ("worker", &*worker, "may not write vocabulary: run `fleet migrate --grant worker:vocabulary-events=USER`"),
        ("event-store", &*worker, "run `fleet migrate --grant append=USER,prune=USER,relay=USER`"),
    ] {
        let process = fleet.process(role).await.env("DATABASE_URL", &fleet.database.url_as(user));
        let process =
            process.env("FLEET_TOPIC", "vocabulary-events").env("FLEET_GRPC_LISTEN", "127.0.0.1:0").start().await;
        eventually("it says why", LIMIT, async || {
            let answer = reqwest::get(format!("http://{}/readyz", process.http())).await.unwrap();
            let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
            if status == 503 && text.contains(says) { Ok(()) } else { Err(format!("{role}: {status} {text}")) }
        })
        .await;
    }
}

/// A consumer has the tables of its projection, whichever generation they are of.
#[tokio::test]
async fn a_reader_reads_on_when_another_generation_is_promoted() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let _worker = fleet.worker("vocabulary-events", &store).await;
    let admin = fleet.process("admin").await.start().await;
    let entry = Uuid::now_v7();
    let created = event("EntryCreated", json!({"entry_id": entry, "spelling": "late"}));
    connect(&store).await.append_events(append("VocabularyEntry", entry, vec![created])).await.unwrap();
    let consumer = PgPool::connect(&fleet.database.url_as("fleet_consumer")).await.unwrap();
    let read = async || {
        let count = "select count(*) from vocabulary.vocabulary_entries where spelling = 'late'";
        eventually("it is read", LIMIT, async || {
            match sqlx::query_scalar::<_, i64>(count).fetch_one(&consumer).await {
                Ok(1) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    };
    read().await;
    let run = async |args: &[&str]| {
        let builder = fleet.process(args[0]).await.env("FLEET_HTTP", &admin.http());
        let by = ["vocabulary", "--actor", "ada", "--reason", "a test"];
        let args = args[1..].iter().chain(&by);
        let (status, out, error) = args.fold(builder, |builder, arg| builder.arg(arg)).output().await;
        (status.success(), out + &error)
    };
    let (done, said) = run(&["rebuild"]).await;
    assert!(done, "{said}");
    for way in ["promote", "rollback"] {
        eventually(way, LIMIT, async || match run(&[way]).await {
            (true, _) => Ok(()),
            (false, said) => Err(said),
        })
        .await;
        read().await;
    }
    let owners = "select count(distinct nspowner) from pg_namespace where nspname like 'vocabulary%'";
    assert_eq!(fleet.database.count(owners).await, 1, "each generation belongs to whom the first belongs to");
}

/// The owner need not be a superuser; what is done twice is done once; what cannot be is said.
#[tokio::test]
async fn an_owner_that_may_make_roles_gives_each_user_its_duty() {
    let database = Database::empty().await;
    let id = Uuid::now_v7().simple().to_string();
    let [owner, store, worker, admin] =
        ["owner", "store", "worker", "admin"].map(|name| format!("{name}_{}", &id[20..]));
    let name = database.url.rsplit('/').next().unwrap().split('?').next().unwrap();
    let password = database.without_password().map(|(_, password)| password).unwrap_or_default();
    let make = format!(
        "create role {owner} login createrole password '{password}'; alter database {name} owner to {owner};
         create role {store} login password '{password}'; create role {worker} login password '{password}';
         create role {admin} login password '{password}';
         do $$ begin create role cloudsqlsuperuser; exception when duplicate_object then null; end $$"
    );
    // Roles are of the whole server.
    let made = sqlx::raw_sql(AssertSqlSafe(make)).execute(&database.pool).await;
    assert!(made.is_ok(), "{made:?}");
    let cloud = format!("grant cloudsqlsuperuser to {store}");
    sqlx::raw_sql(AssertSqlSafe(cloud)).execute(&database.pool).await.unwrap();
    let migrate = async |grant: &str| {
        let builder = Process::builder("migrate").env("DATABASE_URL", &database.url_as(&owner));
        let (status, _, said) = builder.env("FLEET_GRANT", grant).output().await;
        (status.code(), said)
    };
    let duties = format!(
        "append={store},relay={store},prune={store},admin={admin},worker:vocabulary-events={worker},reader:vocabulary={admin}"
    );
    for round in 0..2 {
        let (code, said) = migrate(&duties).await;
        assert_eq!(code, Some(0), "{round}: {said}");
        assert!(said.contains(&format!("user {worker} may work on vocabulary-events")), "{said}");
    }
    let still = "select count(*) from pg_auth_members join pg_roles on pg_roles.oid = roleid where rolname = 'cloudsqlsuperuser'";
    assert_eq!(database.count(still).await, 0, "what Cloud SQL gives to every user is taken back");
    for (grant, reason) in [
        ("append=nobody_at_all", "there is no user"),
        (&*format!("append={owner}"), "may do everything here already"),
        ("worker:no-events=x", "there is no topic"),
        ("reader:nothing=x", "there is no projection"),
        ("owner=x", "there is no duty"),
    ] {
        let (code, said) = migrate(grant).await;
        assert_eq!(code, Some(if reason == "there is no duty" { 2 } else { 1 }), "{said}");
        assert!(said.contains(reason), "{grant}: {said}");
    }

    let untouched = Database::empty().await;
    let builder = Process::builder("migrate").env("DATABASE_URL", &untouched.url);
    let (status, out, error) = builder.env("FLEET_GRANT", "append=nobody_at_all").output().await;
    assert!(status.code() == Some(1) && error.contains("nothing was done"), "{out}{error}");
    assert_eq!(untouched.count("select count(*) from pg_tables where schemaname = 'public'").await, 0);

    // With that they work.
    let fleet = Fleet { database, project: crate::harness::Project::new().await };
    let own =
        async |role: &str, user: &str| fleet.process(role).await.env("DATABASE_URL", &fleet.database.url_as(user));
    let store = own("event-store", &store).await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0").start().await;
    let builder = fleet.worker_builder("vocabulary-events", &store).await;
    let _worker = builder.env("DATABASE_URL", &fleet.database.url_as(&worker)).start().await;
    let entry = Uuid::now_v7();
    let created = event("EntryCreated", json!({"entry_id": entry, "spelling": "early"}));
    connect(&store).await.append_events(append("VocabularyEntry", entry, vec![created])).await.unwrap();
    eventually("it is applied", LIMIT, async || {
        match fleet.database.count("select count(*) from vocabulary.vocabulary_entries").await {
            1 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
}
