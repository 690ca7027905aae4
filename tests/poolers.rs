//! A pooler between the fleet and Postgres: what works, and what is refused at once. docs/deploy.md says which is which.

use bus::Chaos;
use uuid::Uuid;

use crate::harness::client::{append, connect, signed_up};
use crate::harness::parts::LIMIT;
use crate::harness::pgbouncer::PgBouncer;
use crate::harness::{Broker, Database, Fleet, Project, eventually};

async fn fleet_at(url: &str) -> Fleet {
    Fleet { database: Database::existing(url), project: Project::of(&Broker::start(Chaos::new(1)).await) }
}

#[tokio::test]
async fn the_fleet_works_behind_pgbouncer_in_session_mode() {
    let database = Database::new().await;
    let Some(bouncer) = PgBouncer::before(&database.url, "session", 60).await else { return };
    let broker = Broker::start(Chaos::new(1)).await;
    let fleet = Fleet { database: Database::existing(&bouncer.url), project: Project::of(&broker) };
    let store = fleet.event_store().await;
    let worker = fleet.worker("integration-events", &store).await;
    let mut client = connect(&store).await;
    for user in [(); 20].map(|()| Uuid::now_v7()) {
        client.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();
    }
    eventually("they are applied", LIMIT, async || {
        match database.count("select count(*) from user_directory.users").await {
            20 => Ok(()),
            other => Err(format!("{other}: {:?}", worker.logged().last())),
        }
    })
    .await;
    // Sessions are set as they are without a pooler.
    for (name, value) in
        [("statement_timeout", "1min"), ("client_connection_check_interval", "2s"), ("TimeZone", "UTC")]
    {
        let ask = sqlx::query_scalar("select current_setting($1)").bind(name);
        let set: String = ask.fetch_one(&fleet.database.pool).await.unwrap();
        assert_eq!(set, value, "{name}");
    }
    for process in [&store, &worker] {
        let ready = reqwest::get(format!("http://{}/readyz", process.http())).await.unwrap();
        assert_eq!(ready.status(), 200, "{:?}", ready.text().await);
    }
}

#[tokio::test]
async fn a_pooler_that_takes_sessions_apart_or_is_too_small_is_refused_at_start() {
    let database = Database::new().await;
    for (mode, size, reason) in
        [("transaction", 40, "session mode"), ("statement", 40, "session mode"), ("session", 5, "it needs 14")]
    {
        let Some(bouncer) = PgBouncer::before(&database.url, mode, size).await else { return };
        let fleet = fleet_at(&bouncer.url).await;
        let builder = fleet.process("event-store").await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0");
        let (status, _, said) = builder.output().await;
        assert_eq!(status.code(), Some(1), "{mode}: {said}");
        assert!(said.contains(reason), "{mode}: {said}");
    }
}
