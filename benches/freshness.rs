//! How much later live events are applied while a read model is built anew: by itself, and as fast as it goes.
//!
//! The whole way, as in `isolation`, in an open loop. What is rebuilt is what the live events are applied to.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use event_store::proto::event_store_client::EventStoreClient;
use fleet::roles;
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use uuid::Uuid;
use workers::audit::Attribution;
use workers::generations::rebuild::{self, NewRebuild};
use workers::operations::{self, Rate, State};

use crate::Options;
use crate::isolation::{self, email_updated, request, settled, signed_up};
use crate::numbers::{Gate, Spread, percentile, thousands};
use crate::server::{Database, Server};

pub const DIRECTORY: &str = "user_directory";

/// Users to whom something happens now.
pub const LIVE: usize = 400;

/// Appends a second.
const RATE: f64 = 300.0;

/// Lags before the rebuild and during it, sorted, and how fast it went.
struct Cell {
    before: Vec<Duration>,
    during: Vec<Duration>,
    events_per_second: f64,
}

impl Cell {
    fn before(&self) -> &[Duration] {
        &self.before
    }

    fn during(&self) -> &[Duration] {
        &self.during
    }

    fn ratio(&self, percent: usize) -> f64 {
        percentile(&self.during, percent).as_secs_f64() / percentile(&self.before, percent).as_secs_f64()
    }
}

pub async fn measure(server: &Server, options: Options) -> Result<Vec<Gate>> {
    let users: i64 = crate::variable("FLEET_BENCH_USERS", 20_000)?;
    let store = applied(server, users).await?;
    let (mut throttled, mut unthrottled) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        for (throttle, cells) in [(true, &mut throttled), (false, &mut unthrottled)] {
            eprintln!("freshness: round {} of {}, throttle: {throttle}", round + 1, options.rounds);
            cells.push(cell(server, &store, throttle, options.window * 10).await?);
        }
    }
    server.drop(store).await?;
    println!(
        "| a rebuild | p50 ms before | during | p99 ms before | during | p99, during : before | rebuilt, events/s |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for (what, cells) in [("as it is", &throttled), ("with the throttle off", &unthrottled)] {
        let median = |of: fn(&Cell) -> &[Duration], percent| {
            Spread::of(cells.iter().map(|cell| percentile(of(cell), percent).as_secs_f64() * 1e3)).median
        };
        println!(
            "| {what} | {:.1} | {:.1} | {:.1} | {:.1} | {} | {} |",
            median(Cell::before, 50),
            median(Cell::during, 50),
            median(Cell::before, 99),
            median(Cell::during, 99),
            Spread::of(cells.iter().map(|cell| cell.ratio(99))),
            thousands(Spread::of(cells.iter().map(|cell| cell.events_per_second)).median),
        );
    }
    println!();
    let reached = Spread::of(throttled.iter().map(|cell| 1.0 / cell.ratio(99)));
    Ok(vec![Gate { what: "p99 freshness, before a rebuild : during it".to_owned(), at_least: 0.5, reached }])
}

/// A store in which all that was said of so many users is applied.
pub async fn applied(server: &Server, users: i64) -> Result<Database> {
    let store = server.empty().await?;
    let pool = store.pool()?;
    sqlx::query(include_str!("users.sql")).bind(users).execute(&pool).await?;
    sqlx::raw_sql("update event_store_head set position = (select max(position) from events)").execute(&pool).await?;
    // What is there was published long ago.
    sqlx::raw_sql("insert into relay_cursors (topic, position) select 'integration-events', max(position) from events")
        .execute(&pool)
        .await?;
    sqlx::raw_sql("vacuum (freeze, analyze) events").execute(&pool).await?;
    let stop = CancellationToken::new();
    let mut parts = JoinSet::new();
    let _client = isolation::start(&store, &pool, true, &stop, &mut parts).await?;
    let deadline = Instant::now() + Duration::from_secs(300);
    while let Err(error) = settled(&pool).await {
        ensure!(Instant::now() < deadline, error);
    }
    ended(stop, parts).await?;
    sqlx::raw_sql("vacuum analyze").execute(&pool).await?;
    pool.close().await;
    Ok(store)
}

pub async fn ended(stop: CancellationToken, mut parts: roles::Running) -> Result<()> {
    stop.cancel();
    while let Some(ended) = parts.join_next().await {
        ended??;
    }
    Ok(())
}

async fn cell(server: &Server, store: &Database, throttle: bool, window: Duration) -> Result<Cell> {
    let database = server.copy_of(store).await?;
    let pool = database.pool()?;
    sqlx::raw_sql(isolation::NOTE).execute(&pool).await?;
    let stop = CancellationToken::new();
    let mut parts = JoinSet::new();
    let mut client = isolation::start(&database, &pool, throttle, &stop, &mut parts).await?;
    let users: Vec<Uuid> = (0..LIVE).map(|_| Uuid::now_v7()).collect();
    for user in &users {
        client.append_events(request(*user, signed_up(*user))).await?;
    }
    let first = settled(&pool).await?;
    drive(&client, &users, window, None).await?;
    let second = settled(&pool).await?;
    let operation = start(&pool, None).await?;
    drive(&client, &users, window, Some((&pool, operation))).await?;
    let third = settled(&pool).await?;
    let (before, during) = (lags(&pool, first, second).await?, lags(&pool, second, third).await?);
    let events_per_second = sqlx::query_scalar(
        "select (sum(part.events) / max(extract(epoch from part.advanced_at - operation.started_at)))::float8
         from generation_parts as part
         join operations as operation on operation.projection = part.projection and operation.generation = part.generation
         where operation.id = $1",
    )
    .bind(operation)
    .fetch_one(&pool)
    .await?;
    drop(client);
    ended(stop, parts).await?;
    pool.close().await;
    server.drop(database).await?;
    Ok(Cell { before, during, events_per_second })
}

pub async fn start(pool: &PgPool, rate: Option<f64>) -> Result<Uuid> {
    let projection = crate::catalogue().projection(DIRECTORY).context("no such projection")?;
    let by = Attribution { actor: "bench".to_owned(), reason: "to see whom it holds up".to_owned() };
    let plan = rebuild::plan(pool, projection).await?;
    let rate = rate.map(|events| Rate { events, seconds: None });
    let new = NewRebuild { parts: 1, rate, plan_token: plan.plan_token, by, idempotency_key: None };
    let operation = rebuild::ask(pool, projection, &new).await?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while operations::get(pool, operation).await?.is_some_and(|it| it.state == State::Pending) {
        ensure!(Instant::now() < deadline, "nobody begins it");
        sleep(Duration::from_millis(20)).await;
    }
    Ok(operation)
}

/// Each user's address changes, at the rate, in turn with the others; for so long, or until the operation is over.
pub async fn drive(
    store: &EventStoreClient<Channel>,
    users: &[Uuid],
    window: Duration,
    operation: Option<(&PgPool, Uuid)>,
) -> Result<()> {
    let mut ticks = interval(Duration::from_secs_f64(1.0 / RATE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut appends = JoinSet::new();
    let until = Instant::now() + window;
    for (number, &user) in users.iter().cycle().enumerate() {
        ticks.tick().await;
        let mut store = store.clone();
        let event = email_updated(user, &format!("live{number}@example.org"));
        appends.spawn(async move { store.append_events(request(user, event)).await });
        if number % 100 == 99 && (Instant::now() >= until || over(operation).await?) {
            break;
        }
    }
    while let Some(appended) = appends.join_next().await {
        appended?.context("appending")?;
    }
    Ok(())
}

async fn over(operation: Option<(&PgPool, Uuid)>) -> Result<bool> {
    let Some((pool, id)) = operation else { return Ok(false) };
    let now = operations::get(pool, id).await?.context("the operation is gone")?;
    match now.state {
        State::Waiting => Ok(true),
        State::Pending | State::Running => Ok(false),
        other => bail!("it is {other:?}: {:?}", now.error),
    }
}

/// From commit to commit, of what was appended after the one position and up to the other; sorted.
pub async fn lags(pool: &PgPool, after: i64, upto: i64) -> Result<Vec<Duration>> {
    let lags: Vec<f64> = sqlx::query_scalar(
        "select greatest(extract(epoch from applied.at - events.created_at), 0)::float8
         from events join applied using (event_id)
         where events.position > $1 and events.position <= $2
         order by 1",
    )
    .bind(after)
    .bind(upto)
    .fetch_all(pool)
    .await?;
    ensure!(lags.len() > 100, "{} events were applied", lags.len());
    Ok(lags.into_iter().map(Duration::from_secs_f64).collect())
}
