//! How much later everybody else's events are applied while some aggregates are poisoned.
//!
//! The whole way: gRPC append, relay, the embedded bus, worker. An open loop: events come at a fixed rate, however long
//! each takes. One aggregate of a hundred gets an event that cannot be applied, and more behind it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bus::Embedded;
use database::Endpoint;
use event_store::proto::event_store_client::EventStoreClient;
use event_store::proto::{AppendEventsRequest, NewEvent};
use event_store::tail::Head;
use fleet::bus_choice::{Bus, Pull};
use fleet::roles;
use fleet::roles::event_store::EventStore;
use fleet::roles::worker::TopicWorker;
use fleet::serve;
use projections::topics::INTEGRATION;
use prometheus::Registry;
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::Options;
use crate::numbers::{Gate, Spread, percentile};
use crate::server::{Database, Server};

const USERS: usize = 400;
const UPDATES: usize = 10;

/// Appends a second.
const RATE: f64 = 500.0;

/// Of so many users one is poisoned.
const POISONED: usize = 100;

/// What a projection that is broken for some events would refuse.
const BREAK: &str = "alter table user_directory.users add constraint broken_handler check (email not like 'poison%')";

/// A record of when each event was applied.
pub const NOTE: &str = "
    create table applied (event_id uuid primary key, at timestamptz not null);
    create function note() returns trigger language plpgsql as $$
    begin
        insert into applied select event_id, clock_timestamp() from fresh on conflict do nothing;
        return null;
    end $$;
    create trigger note after insert on processed_event_ids
    referencing new table as fresh for each statement execute function note();";

/// Lags of the events of healthy users, sorted.
struct Cell(Vec<Duration>);

impl Cell {
    fn milliseconds(&self, percent: usize) -> f64 {
        percentile(&self.0, percent).as_secs_f64() * 1e3
    }
}

pub async fn measure(server: &Server, options: Options) -> Result<Vec<Gate>> {
    let (mut healthy, mut poisoned) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        for (poison, cells) in [(false, &mut healthy), (true, &mut poisoned)] {
            eprintln!("isolation: round {} of {}, poisoned: {poison}", round + 1, options.rounds);
            cells.push(cell(server, poison).await?);
        }
    }
    println!(
        "| aggregates | p50 ms | p99 ms | : none poisoned, p50 | : none poisoned, p99 |\n| --- | --- | --- | --- | --- |"
    );
    for (what, cells) in [("none poisoned", &healthy), ("1 % poisoned, the others", &poisoned)] {
        let median = |percent| Spread::of(cells.iter().map(|cell| cell.milliseconds(percent))).median;
        let ratio = |percent| Spread::of_ratios(cells, &healthy, |cell| cell.milliseconds(percent));
        println!("| {what} | {:.2} | {:.2} | {} | {} |", median(50), median(99), ratio(50), ratio(99));
    }
    println!();
    let reached = Spread::of_ratios(&healthy, &poisoned, |cell| cell.milliseconds(99));
    let what = "p99 lag, none poisoned : 1 % of aggregates poisoned, the others".to_owned();
    Ok(vec![Gate { what, at_least: 0.9, reached }])
}

async fn cell(server: &Server, poison: bool) -> Result<Cell> {
    let database = server.empty().await?;
    let pool = database.pool()?;
    sqlx::raw_sql(BREAK).execute(&pool).await?;
    sqlx::raw_sql(NOTE).execute(&pool).await?;
    let stop = CancellationToken::new();
    let mut parts = JoinSet::new();
    let mut store = start(&database, &pool, true, &stop, &mut parts).await?;

    let users: Vec<Uuid> = (0..USERS).map(|_| Uuid::now_v7()).collect();
    for user in &users {
        store.append_events(request(*user, signed_up(*user))).await?;
    }
    let start = settled(&pool).await?;
    drive(&store, &users, poison).await?;
    settled(&pool).await?;
    let held: i64 = sqlx::query_scalar("select count(*) from projected_aggregates where held").fetch_one(&pool).await?;
    let expected = if poison { USERS / POISONED } else { 0 };
    ensure!(held == expected as i64, "{held} aggregates are held, not {expected}");

    let ill: Vec<Uuid> = users.iter().copied().step_by(POISONED).collect();
    let lags: Vec<f64> = sqlx::query_scalar(
        "select extract(epoch from applied.at - events.created_at)::float8
         from events join applied using (event_id)
         where events.position > $1 and events.aggregate_id <> all($2)
         order by 1",
    )
    .bind(start)
    .bind(&ill)
    .fetch_all(&pool)
    .await?;
    ensure!(lags.len() == (USERS - ill.len()) * UPDATES, "{} events were applied", lags.len());

    stop.cancel();
    drop(store);
    while let Some(ended) = parts.join_next().await {
        ended??;
    }
    pool.close().await;
    server.drop(database).await?;
    Ok(Cell(lags.into_iter().map(|lag| Duration::from_secs_f64(lag.max(0.0))).collect()))
}

/// An event store, its relay, and the worker of the users' topic.
pub async fn start(
    database: &Database,
    pool: &PgPool,
    throttled: bool,
    stop: &CancellationToken,
    parts: &mut roles::Running,
) -> Result<EventStoreClient<Channel>> {
    let bus = Bus::Embedded(Embedded::new());
    bus.ensure(crate::catalogue().topics()).await?;
    let head = Head::default();
    let registry = Registry::new();
    let (grpc, address) = serve::bind("127.0.0.1:0", "--grpc").await?;
    let url = database.url.as_str();
    let endpoint = Endpoint::new(url)?;
    EventStore {
        pool: endpoint.serving(8),
        endpoint,
        head: head.clone(),
        registry: registry.clone(),
        grpc,
        gate: fleet::host::Gate::open(),
        retention: workers::retention::Retention::default(),
        relays: Some((bus.clone(), vec![&INTEGRATION])),
    }
    .spawn(parts, stop)?;
    let topic = &INTEGRATION;
    let (sender, deliveries) = mpsc::channel(1000);
    let address = address.to_string();
    TopicWorker {
        topic,
        projections: crate::catalogue().listening_to(topic),
        pool: roles::applying_pool(url, 8)?,
        head,
        metrics: workers::Metrics::register(&registry)?,
        event_store: &address,
        credentials: Default::default(),
        sweep_grace: Duration::from_secs(10),
        building: roles::applying_pool(url, 2)?,
        reading: roles::pool(url, 2)?,
        throttled,
        raised: Default::default(),
    }
    .spawn(
        vec![bus.subscription(topic, Pull { streams: 1, max_outstanding: 1000, room: bus::Room::new(48 << 20) })],
        sender,
        deliveries,
        parts,
        stop,
    )?;
    let _: i64 = sqlx::query_scalar("select position from event_store_head").fetch_one(pool).await?;
    let channel = fleet::client::endpoint(&address)?.connect().await.context("connecting to the event store")?;
    Ok(EventStoreClient::new(channel))
}

/// Each user gets its updates, at the rate, in turn with the others.
async fn drive(store: &EventStoreClient<Channel>, users: &[Uuid], poison: bool) -> Result<()> {
    let mut ticks = interval(Duration::from_secs_f64(1.0 / RATE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut appends = JoinSet::new();
    for update in 0..UPDATES {
        for (number, &user) in users.iter().enumerate() {
            ticks.tick().await;
            let event = match number % (2 * POISONED) {
                // Cannot be decoded.
                0 if poison && update == 1 => event("LearningGoalSet", &json!({"user_id": user, "daily_goal": "many"})),
                // Postgres refuses it.
                POISONED if poison => email_updated(user, &format!("poison{update}@example.org")),
                _ => email_updated(user, &format!("user{update}@example.org")),
            };
            let mut store = store.clone();
            appends.spawn(async move { store.append_events(request(user, event)).await });
        }
    }
    while let Some(appended) = appends.join_next().await {
        appended?.context("appending")?;
    }
    Ok(())
}

/// Waits until the projection has settled the store; returns its head.
pub async fn settled(pool: &PgPool) -> Result<i64> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let (head, settled): (i64, i64) = sqlx::query_as(
            "select head.position, min(progress.settled_position)
             from event_store_head as head, projection_progress as progress
             where progress.topic = 'integration-events'
             group by head.position",
        )
        .fetch_one(pool)
        .await?;
        if settled >= head {
            return Ok(head);
        }
        ensure!(Instant::now() < deadline, "settled {settled} of {head}");
        sleep(Duration::from_millis(50)).await;
    }
}

pub fn request(user: Uuid, event: NewEvent) -> AppendEventsRequest {
    AppendEventsRequest {
        aggregate_id: user.to_string(),
        aggregate_type: "User".to_owned(),
        expected_version: None,
        idempotency_key: String::new(),
        events: vec![event],
    }
}

pub fn signed_up(user: Uuid) -> NewEvent {
    let data = json!({"user_id": user, "email": "user@example.org", "first_name": "Ada", "last_name": "L"});
    NewEvent { metadata: r#"{"schema_version":2}"#.to_owned(), ..event("UserSignedUp", &data) }
}

pub fn email_updated(user: Uuid, email: &str) -> NewEvent {
    event("UserEmailUpdated", &json!({"user_id": user, "email": email}))
}

fn event(event_type: &str, data: &serde_json::Value) -> NewEvent {
    NewEvent {
        event_id: None,
        event_type: event_type.to_owned(),
        event_data: data.to_string(),
        metadata: String::new(),
        occurred_at: None,
    }
}
