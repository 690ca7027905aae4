//! As a person does it, on processes.

use serde_json::json;

use crate::harness::client::{SAMPLE_EVENTS, append, connect, event, load_sample};
use crate::harness::parts::LIMIT;
use crate::harness::{Fleet, Process, catalogue, eventually, expected};

use super::PROGRESS;

/// Somebody with a terminal, before a fleet that has the sample.
struct Person {
    fleet: Fleet,
    admin: Process,
    workers: Vec<Process>,
    store: Process,
}

impl Person {
    async fn new() -> Self {
        let fleet = Fleet::new().await;
        let store = fleet.event_store().await;
        load_sample(&store).await;
        let workers = fleet.workers(&store).await;
        let admin = fleet.process("admin").await.start().await;
        Self { fleet, admin, workers, store }
    }

    async fn run(&self, args: &[&str]) -> (Option<i32>, String) {
        let builder = self.fleet.process(args[0]).await.env("FLEET_HTTP", &self.admin.http());
        let (status, out, error) = args[1..].iter().fold(builder, |builder, arg| builder.arg(arg)).output().await;
        (status.code(), out + &error)
    }
}

/// Whoever is paged for it asks the doctor; and whoever goes back afterwards would have it read again.
#[tokio::test]
async fn what_a_verification_has_found_is_said_by_the_doctor_and_before_the_way_back() {
    let person = Person::new().await;
    let (fleet, run) = (&person.fleet, async |args: &[&str]| person.run(args).await);
    let by = ["--reason", "a test", "--actor", "ada"];
    fleet.database.settled(SAMPLE_EVENTS, LIMIT).await;
    let changed = "update user_directory.users set email = 'nobody@example.org'
                   where user_id = (select min(user_id::text)::uuid from user_directory.users)";
    assert_eq!(sqlx::query(changed).execute(&fleet.database.pool).await.unwrap().rows_affected(), 1);
    let (code, out) = run(&[&["verify", "user_directory"][..], &by].concat()).await;
    assert_eq!(code, Some(1), "{out}");
    let (code, out) = run(&["operations", "list"]).await;
    assert!(code == Some(0) && out.contains("    rows differ: fleet operations differences "), "{out}");
    let (code, out) = run(&["doctor"]).await;
    assert!(code == Some(3) && out.contains("the last verification of user_directory found 1 difference"), "{out}");
    assert!(out.contains("What to do: fleet runbook ReadModelDiffers"), "{out}");
    let (code, out) = run(&[&["rebuild", "user_directory"][..], &by].concat()).await;
    assert_eq!(code, Some(0), "{out}");
    let park = "insert into parked_events (id, topic, projection, generation, reason, error, event_id, aggregate_id, event_version,
                                           position, payload)
                select '00000000-0000-0000-0000-000000000007', 'integration-events', 'user_directory', 3, 'panicked', 'no', event_id,
                       aggregate_id, event_version, position, ''
                from events where aggregate_type = 'User' order by position limit 1";
    sqlx::query(park).execute(&fleet.database.pool).await.unwrap();
    eventually("doctor says why nobody can promote it", LIMIT, async || {
        let (_, out) = run(&["doctor"]).await;
        let why = "is ready and cannot be promoted: 1 event parked in it, which the live generation has applied (`fleet dead-letters list \
                   --projection user_directory --generation 3`)";
        if out.contains(why) { Ok(()) } else { Err(out) }
    })
    .await;
    sqlx::query("delete from parked_events").execute(&fleet.database.pool).await.unwrap();
    eventually("it is promoted", LIMIT, async || {
        let (code, out) = run(&[&["promote", "user_directory"][..], &by].concat()).await;
        if code == Some(0) { Ok(()) } else { Err(out) }
    })
    .await;
    let (code, out) = run(&["doctor"]).await;
    assert!(code == Some(0) && !out.contains("verification of user_directory found"), "{out}");
    let (code, out) = run(&["rollback", "user_directory", "--dry-run"]).await;
    assert!(code == Some(0) && out.contains("the last verification of generation 1 found 1 difference: "), "{out}");

    // What is known of it is known again when it is read again.
    let (code, out) = run(&[&["rollback", "user_directory"][..], &by].concat()).await;
    assert_eq!(code, Some(0), "{out}");
    let (code, out) = run(&["doctor"]).await;
    assert!(code == Some(3) && out.contains("the last verification of user_directory found 1 difference"), "{out}");
    let (code, out) = run(&["generations", "user_directory"]).await;
    assert!(code == Some(0) && out.contains("its last verification found 1 difference"), "{out}");
    let (code, out) = run(&["promote", "user_directory", "--dry-run"]).await;
    let instead = "generation 3 was read before, and `fleet rollback user_directory --generation 3` has it read again";
    assert!(code == Some(4) && out.contains(instead), "{out}");
    let (code, out) = run(&["retire", "user_directory", "--generation", "3", "--dry-run"]).await;
    assert!(code == Some(0) && out.contains("generation 1, was found to differ from the store: 1 difference"), "{out}");
}

/// Somebody has locked a table, and somebody else would wait for it without knowing.
#[tokio::test]
async fn who_waits_for_a_lock_is_told_so_and_who_need_not_does_not() {
    let person = Person::new().await;
    let (fleet, run) = (&person.fleet, async |args: &[&str]| person.run(args).await);
    fleet.database.settled(SAMPLE_EVENTS, LIMIT).await;
    let mut holder = fleet.database.pool.begin().await.unwrap();
    sqlx::raw_sql("lock table user_directory.users in access exclusive mode").execute(&mut *holder).await.unwrap();
    let (code, out) = run(&["rebuild", "user_directory", "--dry-run"]).await;
    assert!(code == Some(0) && out.contains("in 1 table, with "), "{out}");
    let user = uuid::Uuid::now_v7();
    let signed_up = event("UserSignedUp", json!({"user_id": user, "name": "Ada", "email": "ada@example.org"}));
    connect(&person.store).await.append_events(append("User", user, vec![signed_up])).await.unwrap();
    eventually("its worker waits", LIMIT, async || {
        let (_, out) = run(&["status"]).await;
        if out.contains("blocked") { Ok(()) } else { Err(out) }
    })
    .await;
    let (code, out) = run(&["verify", "user_directory", "--reason", "a test", "--actor", "ada"]).await;
    let told = "somebody holds a lock that this waits for: `fleet locks` says who";
    assert!(code == Some(3) && out.contains(told), "{code:?} {out}");
    assert_eq!(fleet.database.count("select count(*) from operations").await, 0, "it was not begun");
}

/// Who looks what code runs is not told that none does, because it is held up by something else.
#[tokio::test]
async fn code_that_waits_for_a_lock_is_known_to_run() {
    let person = Person::new().await;
    person.fleet.database.settled(SAMPLE_EVENTS, LIMIT).await;
    let mut holder = person.fleet.database.pool.begin().await.unwrap();
    sqlx::raw_sql("lock table generations in access exclusive mode").execute(&mut *holder).await.unwrap();
    eventually("it says so twice more", LIMIT, async || {
        let lately = "select count(*) from keepers, pg_stat_activity as holder, pg_locks as held
                      where held.relation = 'generations'::regclass and held.granted and held.mode = 'AccessExclusiveLock'
                      and held.pid = holder.pid and projection = 'user_directory' and seen_at > holder.xact_start + interval '6 s'";
        match person.fleet.database.count(lately).await {
            1 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
}

/// An author has given it another name: of what is parked of the first nobody can take care, and whoever asked for it would wait.
#[tokio::test]
async fn nothing_is_decided_about_the_letters_of_a_read_model_that_nobody_has() {
    let person = Person::new().await;
    let (fleet, run) = (&person.fleet, async |args: &[&str]| person.run(args).await);
    let by = ["--reason", "a test", "--actor", "ada"];
    fleet.database.settled(SAMPLE_EVENTS, LIMIT).await;
    let renamed = "create temp table renamed as select * from projections where name = 'user_directory';
                   update renamed set name = 'user_list', schema_name = 'user_list';
                   insert into projections select * from renamed;
                   drop table renamed;
                   insert into parked_events (id, topic, projection, generation, reason, error, event_id, aggregate_id, event_version,
                                              position, payload)
                   select '00000000-0000-0000-0000-000000000007', 'integration-events', 'user_list', 1, 'panicked', 'no', event_id,
                          aggregate_id, event_version, position, ''
                   from events where aggregate_type = 'User' order by position limit 1";
    sqlx::raw_sql(renamed).execute(&fleet.database.pool).await.unwrap();
    let event_id = "select event_id from parked_events where projection = 'user_list'";
    let event_id: uuid::Uuid = sqlx::query_scalar(event_id).fetch_one(&fleet.database.pool).await.unwrap();
    let id = uuid::Uuid::from_u128(7).to_string();
    let (code, out) = run(&["dead-letters", "list"]).await;
    assert!(code == Some(0) && out.contains("user_list"), "it can be looked at: {out}");
    let nobodys = "this program has no user_list, and no worker that runs has it: nobody would do it";
    let discard = ["dead-letters", "discard", &id, "--event-id", &event_id.to_string(), "--error", "no"];
    for args in [
        &discard[..],
        &["dead-letters", "retry", &id],
        &["dead-letters", "retry", "--projection", "user_list", "--yes"],
    ] {
        let (code, out) = run(&[args, &by].concat()).await;
        assert!(code != Some(0) && out.contains(nobodys), "{args:?}: {out}");
    }
    let (code, out) = run(&[&["dead-letters", "retry", "--all", "--yes"][..], &by].concat()).await;
    assert!(code == Some(0) && !out.contains("user_list"), "there is nothing else: {out}");
    assert_eq!(fleet.database.count("select count(*) from operations").await, 0);
}

#[tokio::test]
async fn the_commands_say_what_they_would_do_do_it_and_take_it_back() {
    let mut person = Person::new().await;
    let workers = std::mem::take(&mut person.workers);
    let (fleet, run) = (&person.fleet, async |args: &[&str]| person.run(args).await);
    let by = ["--reason", "a test", "--actor", "ada"];
    let (code, out) = run(&["rebuild", PROGRESS, "--dry-run"]).await;
    assert!(code == Some(0) && out.contains("generation 2 of learner_progress, by version 1"), "{out}");
    assert_eq!(fleet.database.count("select count(*) from operations").await, 0, "a dry run writes nothing");
    let (code, out) = run(&["rebuild", PROGRESS, "--dry-run", "--rate", "10"]).await;
    let about = |seconds: f64| format!(", in about {seconds:.0} s");
    let all = about(SAMPLE_EVENTS as f64 / 10.0);
    assert!(code == Some(0) && out.contains(", in about "), "{out}");
    // As soon as Postgres has counted, it is known how many of the store's events are its own, of which the rate is.
    sqlx::raw_sql("analyze events").execute(&fleet.database.pool).await.unwrap();
    let topics = catalogue().projection(PROGRESS).unwrap().topics();
    let types: Vec<&str> = topics.iter().flat_map(|topic| topic.aggregate_types).copied().collect();
    let own = sqlx::query_scalar("select count(*) from events where aggregate_type = any($1)").bind(types);
    let own: i64 = own.fetch_one(&fleet.database.pool).await.unwrap();
    let own = about(own as f64 / 10.0);
    let (code, out) = run(&["rebuild", PROGRESS, "--dry-run", "--rate", "10"]).await;
    assert!(code == Some(0) && own != all && out.contains(&own), "{own}: {out}");
    let (code, out) = run(&["rebuild", PROGRESS]).await;
    assert!(code != Some(0) && out.contains("--reason <REASON>"), "{out}");
    let (code, out) = run(&[&["rebuild", PROGRESS, "--parts", "2"][..], &by].concat()).await;
    assert!(code == Some(0) && out.contains("waits for you to promote it"), "{out}");
    let (code, out) = run(&[&["rebuild", PROGRESS][..], &by].concat()).await;
    assert!(code != Some(0) && out.contains("a rebuild of it is under way: operation"), "{out}");
    let (code, out) = run(&["generations", PROGRESS]).await;
    assert!(code == Some(0) && out.contains("ready") && out.contains("live"), "{out}");
    fleet.database.settled(SAMPLE_EVENTS, LIMIT).await;
    eventually("it is promoted", LIMIT, async || {
        let (code, out) = run(&[&["promote", PROGRESS][..], &by].concat()).await;
        if code == Some(0) { Ok(()) } else { Err(out) }
    })
    .await;
    expected::assert_sample(&fleet.database.pool).await;
    let (code, out) = run(&["rollback", PROGRESS, "--dry-run"]).await;
    assert!(code == Some(0) && !out.contains("note: "), "{out}");
    let (code, out) = run(&["generations", PROGRESS]).await;
    assert!(code == Some(0) && out.contains("back possible until"), "{out}");
    let (code, out) = run(&[&["rollback", PROGRESS][..], &by].concat()).await;
    assert_eq!(code, Some(0), "{out}");
    expected::assert_sample(&fleet.database.pool).await;
    // A colleague does the same, and does not take it back.
    let (code, out) = run(&[&["rollback", PROGRESS][..], &by].concat()).await;
    assert!(code == Some(4) && out.contains("rolled back already, by ada, "), "{out}");
    assert!(out.contains("--generation 2"), "{out}");

    // What nobody's program can do is asked for, and not waited for.
    let version = async |version: i32| {
        let changed = "update generations set version = $1 where projection = 'learner_progress' and generation = 2";
        sqlx::query(changed).bind(version).execute(&fleet.database.pool).await.unwrap();
    };
    version(7).await;
    let (code, out) = run(&[&["rollback", PROGRESS, "--generation", "2"][..], &by].concat()).await;
    assert!(
        code == Some(1) && out.contains("rollback, not done yet\nStart the program with version 7 of learner_progress"),
        "{out}"
    );
    let id = out.split("operations cancel ").nth(1).and_then(|rest| rest.split('`').next()).unwrap();
    let (code, out) = run(&[&["operations", "cancel", id][..], &by].concat()).await;
    assert_eq!(code, Some(0), "{out}");
    version(1).await;

    // What somebody else has made on its tables is not dropped with them.
    let pool = &fleet.database.pool;
    let schema = "select schema_name from generations where projection = 'learner_progress' and generation = 2";
    let schema: String = sqlx::query_scalar(schema).fetch_one(pool).await.unwrap();
    for (made, drop) in [
        (
            format!("create view public.reports as select user_id from {schema}.user_progress"),
            "drop view public.reports",
        ),
        (
            format!("create table public.notes (user_id uuid references {schema}.user_progress)"),
            "drop table public.notes",
        ),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(made)).execute(pool).await.unwrap();
        let (code, out) = run(&[&["retire", PROGRESS, "--generation", "2"][..], &by].concat()).await;
        let name = drop.rsplit(' ').next().unwrap();
        assert!(code == Some(4) && out.contains(&format!("{name} was made on its tables")), "{out}");
        sqlx::query(drop).execute(pool).await.unwrap();
    }
    let view = "create view public.reports as select user_id from learner_progress.user_progress";
    sqlx::query(view).execute(pool).await.unwrap();
    let (code, out) = run(&["rollback", PROGRESS, "--generation", "2", "--dry-run"]).await;
    assert!(
        code == Some(0) && out.contains("note: made on the tables of the live generation: public.reports"),
        "{out}"
    );
    sqlx::query("drop view public.reports").execute(pool).await.unwrap();

    let (code, out) = run(&[&["retire", PROGRESS, "--generation", "1"][..], &by].concat()).await;
    assert!(code != Some(0) && out.contains("refused: it is live"), "{out}");
    let (code, out) = run(&[&["retire", PROGRESS, "--generation", "2"][..], &by].concat()).await;
    assert_eq!(code, Some(0), "{out}");
    let audit = "select count(*) from audit_log where actor = 'ada' and reason = 'a test'";
    assert_eq!(fleet.database.count(audit).await, 6, "rebuild, promote, rollback, one that is cancelled, retire");
    let (code, out) = run(&[&["rollback", PROGRESS][..], &by].concat()).await;
    assert!(code != Some(0) && out.contains("no generation that is previous"), "{out}");

    // Nobody is there who could do it, which is better known before.
    drop(workers);
    sqlx::query("update keepers set seen_at = seen_at - interval '1 min'").execute(&fleet.database.pool).await.unwrap();
    let (code, out) = run(&["promote", PROGRESS, "--generation", "1", "--dry-run"]).await;
    assert!(code == Some(4) && out.contains("note: no worker of version 1 of learner_progress runs"), "{out}");
}
