//! Why something is late, in words that are true: who is in the way, and whether it gets better.

use std::time::Duration;

use chrono::TimeDelta;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;
use workers::lag::{Direction, Report, State, samples};

use crate::harness::client::{append, connect, signed_up};
use crate::harness::{Database, Fleet, eventually};

const LIMIT: Duration = Duration::from_secs(90);

#[tokio::test]
async fn a_worker_that_waits_for_a_lock_is_called_blocked_and_by_whom() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let _worker = fleet.worker("integration-events", &store).await;
    let admin = fleet.process("admin").await.start().await;
    let said = async |command: &str| {
        let (_, out, error) = fleet.process(command).await.env("FLEET_HTTP", &admin.http()).output().await;
        out + &error
    };
    eventually("a worker is there", LIMIT, async || {
        let said = said("status").await;
        if said.contains("user_directory") && !said.contains("user_directory on integration-events: no worker") {
            Ok(())
        } else {
            Err(said)
        }
    })
    .await;
    assert!(said("locks").await.starts_with("nobody waits for a lock"), "nobody does");

    let options = database::options(&fleet.database.url).unwrap().application_name("somebody's psql");
    let mut holder = PgConnection::connect_with(&options).await.unwrap();
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut holder).await.unwrap();
    let mut held = holder.begin().await.unwrap();
    sqlx::raw_sql("lock table user_directory.users in access exclusive mode").execute(&mut *held).await.unwrap();
    let user = Uuid::now_v7();
    connect(&store).await.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();
    let user_of: String = sqlx::query_scalar("select current_user::text").fetch_one(&mut *held).await.unwrap();
    let holder = format!(
        "held by pid {pid} (somebody's psql of {user_of} at 127.0.0.1, idle in transaction, in a transaction for "
    );
    let status = eventually("it is called blocked", LIMIT, async || {
        let said = said("status").await;
        if said.contains("blocked") { Ok(said) } else { Err(said) }
    })
    .await;
    let line = status.lines().find(|line| line.contains(" has waited ")).unwrap_or_else(|| panic!("{status}"));
    assert!(line.starts_with("user_directory on integration-events has waited ") && line.contains(&holder), "{status}");
    assert!(status.contains("its worker waits for a lock in the database: `fleet locks` says whose"), "{status}");
    eventually("fleet locks says whose", LIMIT, async || {
        let locks = said("locks").await;
        if locks.contains(&holder) && locks.contains("(fleet) has waited ") { Ok(()) } else { Err(locks) }
    })
    .await;
    held.rollback().await.unwrap();
    eventually("it runs again", LIMIT, async || {
        let said = said("status").await;
        let line = said.lines().find(|line| line.starts_with("user_directory")).unwrap_or_default();
        if line.contains(" running ") { Ok(()) } else { Err(said) }
    })
    .await;
}

#[tokio::test]
async fn doctor_names_who_else_keeps_the_database_busy() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let options = database::options(&fleet.database.url).unwrap().application_name("monthly_report");
    let mut report = PgConnection::connect_with(&options).await.unwrap();
    let reporting = tokio::spawn(async move { sqlx::raw_sql("select pg_sleep(300)").execute(&mut report).await });
    let admin = fleet.process("admin").await.start().await;
    eventually("it is named", LIMIT, async || {
        let (_, out, _) = fleet.process("doctor").await.env("FLEET_HTTP", &admin.http()).output().await;
        let line = out.lines().find(|line| line.contains("Who else is busy?")).unwrap_or_default();
        if line.contains("monthly_report: 1 session, at one statement for up to ") { Ok(()) } else { Err(out) }
    })
    .await;
    reporting.abort();
    drop(store);
}

#[tokio::test]
async fn a_worker_whose_writes_fail_is_called_failing_and_with_what_they_fail() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let worker = fleet.worker("integration-events", &store).await;
    let said = async |command: &str| {
        let (_, out, error) = fleet.process(command).await.env("FLEET_HTTP", &worker.http()).output().await;
        out + &error
    };
    let run = async |sql: &'static str| sqlx::raw_sql(sql).execute(&fleet.database.pool).await.unwrap();
    run("alter table user_directory.users rename column email to mail").await;
    let user = Uuid::now_v7();
    connect(&store).await.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();
    let status = eventually("it is called failing", LIMIT, async || {
        let said = said("status").await;
        if said.contains("failing") { Ok(said) } else { Err(said) }
    })
    .await;
    let line = status.lines().find(|line| line.contains(" has failed since ")).unwrap_or_else(|| panic!("{status}"));
    assert!(line.starts_with("user_directory on integration-events has failed since "), "{status}");
    assert!(line.contains("(SQLSTATE 42703): a statement of the read model does not fit its tables"), "{status}");
    eventually("doctor says it", LIMIT, async || {
        let report = said("doctor").await;
        let fails = report.lines().any(|line| line.contains("What fails?") && line.contains("SQLSTATE 42703"));
        if fails && report.contains("apply: a worker is at work and does not get it through") {
            Ok(())
        } else {
            Err(report)
        }
    })
    .await;

    run("alter table user_directory.users rename column mail to email").await;
    eventually("it runs again", LIMIT, async || {
        let said = said("status").await;
        let runs = said.lines().any(|line| line.starts_with("user_directory") && line.contains("running"));
        if runs && !said.contains("has failed") { Ok(()) } else { Err(said) }
    })
    .await;
}

#[tokio::test]
async fn a_sample_of_a_minute_ago_says_whether_it_gets_better_and_an_hour_is_remembered() {
    let database = Database::new().await;
    let pool = &database.pool;
    let now: Report = database.lag().await;
    let as_of = |ago: i64, events: i64| {
        let mut report = now.clone();
        report.observed_at -= TimeDelta::seconds(ago);
        for status in &mut report.projections {
            status.lag_events = events;
        }
        report
    };
    let kept =
        async || -> i64 { sqlx::query_scalar("select count(*) from lag_samples").fetch_one(pool).await.unwrap() };
    let each = now.projections.len() as i64;
    for (ago, events) in [(3700, 9), (60, 100), (60, 7), (5, 50)] {
        samples::keep(pool, &as_of(ago, events)).await.unwrap();
    }
    assert_eq!(kept().await, 2 * each, "one for each ten seconds, and none that is older than an hour");
    let trend = |report: &mut Report, earlier: &[samples::Sample]| {
        report.explain(&[], earlier);
        report.projections[0].trend.clone()
    };
    let earlier = samples::earlier(pool, now.observed_at).await.unwrap();
    assert_eq!(earlier.len() as i64, each);
    let better = trend(&mut as_of(0, 40), &earlier).unwrap();
    assert_eq!((better.direction, better.before, better.now), (Direction::Better, 100, 40));
    assert!((59.0..=61.0).contains(&better.seconds), "{better:?}");
    assert_eq!(better.done_in_seconds.map(f64::round), Some(40.0), "sixty a minute");
    assert_eq!(trend(&mut as_of(0, 300), &earlier).unwrap().direction, Direction::Worse);
    let mut promoted = as_of(0, 40);
    promoted.projections[0].generation += 1;
    assert_eq!(trend(&mut promoted, &earlier), None, "another generation was as far as it was");

    // The clock was a day ahead when somebody measured.
    samples::keep(pool, &as_of(-86_400, 5)).await.unwrap();
    samples::keep(pool, &as_of(-10, 5)).await.unwrap();
    let future = "select count(*) from lag_samples where observed_at > now() + interval '1 hour'";
    assert_eq!(sqlx::query_scalar::<_, i64>(future).fetch_one(pool).await.unwrap(), 0);
}

#[tokio::test]
async fn an_admin_keeps_samples_by_itself_and_status_explains_what_is_late() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let admin = fleet.process("admin").await.start().await;
    eventually("a sample is kept", LIMIT, async || {
        let count: i64 =
            sqlx::query_scalar("select count(*) from lag_samples").fetch_one(&fleet.database.pool).await.unwrap();
        if count > 0 { Ok(()) } else { Err("none".to_owned()) }
    })
    .await;
    let user = Uuid::now_v7();
    connect(&store).await.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();
    let report = eventually("it is late for five seconds", LIMIT, async || {
        let (_, out, error) = fleet.process("status").await.env("FLEET_HTTP", &admin.http()).output().await;
        if out.contains("user_directory on integration-events is behind, its oldest event has waited since ") {
            Ok(out)
        } else {
            Err(out + &error)
        }
    })
    .await;
    assert!(report.contains("no worker of the topic is at work"), "{report}");
    assert!(report.contains("; done: it waits for a worker"), "{report}");
    let status = fleet.database.lag().await.projections.into_iter().find(|it| it.name == "user_directory").unwrap();
    assert_eq!((status.state, status.swept_at), (State::Stopped, None));
}
