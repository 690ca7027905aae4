//! Building a generation: beside copying the same events out of Postgres, and beside making the same tables by plain SQL.

mod answers;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use event_store::tail::Head;
use fleet::roles;
use futures::TryStreamExt;
use prometheus::Registry;
use read_model::{AnyProjection, Catalogue};
use sqlx::postgres::PgPoolCopyExt;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use workers::apply::Applier;
use workers::audit::Attribution;
use workers::generations::rebuild::{self, NewRebuild};
use workers::generations::{Generations, Standing};
use workers::operations::{self, State};

use crate::Options;
use crate::cpu::Usage;
use crate::numbers::{Gate, Spread, microseconds, thousands};
use crate::server::{Database, Server};
use answers::Answers;

const EVENTS_OF_A_SESSION: u64 = 22;

const PROGRESS: &str = "learner_progress";
const ANSWERS: &str = "answers";

/// Of `learner_progress`.
const TABLES: [&str; 4] = ["learning_sessions", "item_mastery", "daily_progress", "user_progress"];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Design {
    /// Binary, to a client that throws it away.
    Copy,
    /// The four tables of `learner_progress` with their indexes and statistics, out of the events, in the server alone.
    PlainSql,
    Rebuild {
        projection: &'static str,
        parts: i32,
        /// That worker and server have together, if not all.
        cores: Option<usize>,
    },
}

const DESIGNS: [Design; 8] = [
    Design::Copy,
    Design::Rebuild { projection: ANSWERS, parts: 1, cores: None },
    Design::PlainSql,
    Design::Rebuild { projection: PROGRESS, parts: 1, cores: None },
    // One part keeps almost two cores busy. What parts are for is shown where each has as much of a machine as one had: with rows
    // that belong to one aggregate, and with rows to which all parts write.
    Design::Rebuild { projection: ANSWERS, parts: 1, cores: Some(1) },
    Design::Rebuild { projection: ANSWERS, parts: 2, cores: Some(2) },
    Design::Rebuild { projection: PROGRESS, parts: 1, cores: Some(1) },
    Design::Rebuild { projection: PROGRESS, parts: 2, cores: Some(2) },
];

impl Design {
    fn what(self) -> String {
        match self {
            Self::Copy => "binary copy of the events".to_owned(),
            Self::PlainSql => format!("{PROGRESS}, by plain SQL"),
            Self::Rebuild { projection, cores: None, .. } => format!("{projection}, rebuilt"),
            Self::Rebuild { projection, parts: 1, .. } => format!("{projection}, rebuilt on one core"),
            Self::Rebuild { projection, parts, .. } => {
                format!("{projection}, rebuilt in {parts} parts on as many cores")
            }
        }
    }
}

struct Cell {
    elapsed: Duration,
    events: u64,
    usage: Option<Usage>,
}

impl Cell {
    fn events_per_second(&self) -> f64 {
        self.events as f64 / self.elapsed.as_secs_f64()
    }
}

/// The sample, and a read model of its own.
fn catalogue() -> &'static Catalogue {
    static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
        let program = projections::program().projection::<Answers>().build();
        program.expect("it is the sample and one more").catalogue().clone()
    });
    &CATALOGUE
}

fn projection(name: &str) -> &'static dyn AnyProjection {
    catalogue().projection(name).expect("it is in the catalogue")
}

pub async fn measure(server: &Server, options: Options) -> Result<Vec<Gate>> {
    let sessions: u64 = crate::variable("FLEET_BENCH_SESSIONS", 20_000)?;
    let events = sessions * EVENTS_OF_A_SESSION;
    let store = server.empty().await?;
    let pool = store.pool()?;
    roles::migrate::migrate(catalogue(), &pool).await?;
    eprintln!("rebuild: appending {events} events");
    sqlx::query(include_str!("store.sql")).bind(sessions as i64).execute(&pool).await?;
    sqlx::raw_sql("update event_store_head set position = (select max(position) from events)").execute(&pool).await?;
    // The live ones have everything: nobody has to be waited for.
    sqlx::raw_sql("update projection_progress set settled_position = (select max(position) from events)")
        .execute(&pool)
        .await?;
    sqlx::raw_sql("vacuum (freeze, analyze) events").execute(&pool).await?;
    pool.close().await;

    let mut cells: Vec<Vec<Cell>> = DESIGNS.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds {
        let mut rows = Vec::new();
        for (design, cells) in DESIGNS.iter().zip(&mut cells) {
            eprintln!("rebuild: round {} of {}, {}", round + 1, options.rounds, design.what());
            let database = server.copy_of(&store).await?;
            cells.push(cell(server, &database, *design, events).await.with_context(|| design.what())?);
            if let Some(schema) = made(*design) {
                rows.push(tables(&database, schema).await?);
            }
            server.drop(database).await?;
        }
        ensure!(rows.windows(2).all(|pair| pair[0] == pair[1]), "the designs end in different rows");
    }
    server.drop(store).await?;

    println!("{} events, 22 of each session; ten sessions of each learner.\n", thousands(events as f64));
    println!("| what | events/s | : copy | server µs/event | client µs/event | cores used by others |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for (design, ours) in DESIGNS.iter().zip(&cells) {
        print(*design, ours, &cells[0]);
    }
    println!("\nThis process took {} MB at most.\n", peak_kilobytes().unwrap_or_default() / 1024);
    let ratio = |ours: usize, theirs: usize| Spread::of_ratios(&cells[ours], &cells[theirs], Cell::events_per_second);
    Ok(vec![
        Gate { what: "rebuild, a row for 22 events : binary copy".to_owned(), at_least: 0.4, reached: ratio(1, 0) },
        Gate { what: "rebuild, learner_progress : plain SQL".to_owned(), at_least: 1.0, reached: ratio(3, 2) },
        Gate {
            what: "rebuild, answers, two parts on two cores : one on one".to_owned(),
            at_least: 1.6,
            reached: ratio(5, 4),
        },
        Gate {
            what: "rebuild, learner_progress, two parts on two cores : one on one".to_owned(),
            at_least: 1.6,
            reached: ratio(7, 6),
        },
    ])
}

fn print(design: Design, ours: &[Cell], copy: &[Cell]) {
    let events = ours.iter().map(|cell| cell.events).sum();
    let used = |value: fn(&Usage) -> f64| ours.iter().map(|cell| cell.usage.as_ref().map(value)).sum::<Option<f64>>();
    println!(
        "| {} | {} | {} | {} | {} | {} |",
        design.what(),
        thousands(Spread::of(ours.iter().map(Cell::events_per_second)).median),
        Spread::of_ratios(ours, copy, Cell::events_per_second),
        microseconds(used(|usage| usage.server), events),
        microseconds(used(|usage| usage.client), events),
        used(|usage| usage.others).map_or("-".to_owned(), |sum| format!("{:.1}", sum / ours.len() as f64)),
    );
}

async fn cell(server: &Server, database: &Database, design: Design, events: u64) -> Result<Cell> {
    let pool = database.pool()?;
    // What is measured is not how cold a copy of a database is.
    sqlx::raw_sql("select sum(octet_length(metadata::text)) from events").execute(&pool).await?;
    let before = server.cpu.read();
    let elapsed = match design {
        Design::Copy => copy(&pool).await?,
        Design::PlainSql => plain(database).await?,
        Design::Rebuild { projection, parts, cores } => {
            server.cpu.confine(cores)?;
            let elapsed = rebuilt(database, &pool, self::projection(projection), parts).await;
            server.cpu.confine(None)?;
            elapsed?
        }
    };
    let after = server.cpu.read();
    pool.close().await;
    Ok(Cell { elapsed, events, usage: before.zip(after).map(|(before, after)| after.since(before)) })
}

async fn copy(pool: &PgPool) -> Result<Duration> {
    let started = Instant::now();
    let columns = "position, event_id, aggregate_id, aggregate_type, event_type, event_version, event_data, metadata,
                   occurred_at, created_at";
    let mut bytes = 0;
    let mut copied =
        pool.copy_out_raw(&format!("copy (select {columns} from events) to stdout (format binary)")).await?;
    while let Some(some) = copied.try_next().await? {
        bytes += some.len();
    }
    ensure!(bytes > 0, "nothing was copied");
    Ok(started.elapsed())
}

async fn plain(database: &Database) -> Result<Duration> {
    let mut db = PgConnection::connect_with(&database.options()?.options([("statement_timeout", "10min")])).await?;
    sqlx::raw_sql("create schema plain; set search_path to plain, public").execute(&mut db).await?;
    let started = Instant::now();
    let mut tx = db.begin().await?;
    let tables = format!("{};\n{}", projection(PROGRESS).tables(), projection(PROGRESS).indexes());
    sqlx::raw_sql(AssertSqlSafe(tables)).execute(&mut *tx).await?;
    sqlx::raw_sql(include_str!("plain.sql")).execute(&mut *tx).await?;
    for table in TABLES {
        sqlx::raw_sql(AssertSqlSafe(format!("analyze {table}"))).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    let elapsed = started.elapsed();
    db.close().await?;
    Ok(elapsed)
}

/// From when a worker has begun it to when it could be promoted, indexes included.
async fn rebuilt(
    database: &Database,
    pool: &PgPool,
    projection: &'static dyn AnyProjection,
    parts: i32,
) -> Result<Duration> {
    let metrics = workers::Metrics::register(&Registry::new())?;
    let building = roles::applying_pool(&database.url, 4)?;
    let reading = roles::pool(&database.url, 4)?;
    let applier = Applier::new(projection, projection.topics()[0], building.clone(), metrics);
    let generations = Generations {
        appliers: vec![applier],
        head: Head::default(),
        reading: reading.clone(),
        raised: Default::default(),
        throttled: true,
    };
    let by = Attribution { actor: "bench".to_owned(), reason: "to see how fast it is".to_owned() };
    let plan = rebuild::plan(pool, projection).await?;
    let new = NewRebuild { parts, rate: None, plan_token: plan.plan_token, by, idempotency_key: None };
    let operation = rebuild::ask(pool, projection, &new).await?;
    let stop = CancellationToken::new();
    let running = tokio::spawn(generations.run(stop.clone()));
    loop {
        let now = operations::get(pool, operation).await?.context("the operation is gone")?;
        match now.state {
            State::Waiting => break,
            State::Pending | State::Running => tokio::time::sleep(Duration::from_millis(200)).await,
            other => bail!("it is {other:?}: {:?}", now.error),
        }
    }
    stop.cancel();
    running.await?;
    let took: f64 = sqlx::query_scalar(
        "select extract(epoch from built_at - started_at)::float8
         from generations as generation
         join operations as operation on operation.id = generation.operation_id
         where operation.id = $1",
    )
    .bind(operation)
    .fetch_one(pool)
    .await?;
    building.close().await;
    reading.close().await;
    let made = workers::generations::list(pool, projection.name(), 1).await?;
    ensure!(made.iter().all(|it| it.standing == Standing::Ready && it.parked == 0), "{made:?}");
    Ok(Duration::try_from_secs_f64(took)?)
}

/// The schema in which a design has made the tables of `learner_progress`.
fn made(design: Design) -> Option<&'static str> {
    match design {
        Design::PlainSql => Some("plain"),
        Design::Rebuild { projection: PROGRESS, .. } => Some("learner_progress__g2"),
        _ => None,
    }
}

/// A number that two schemas share only if they have the same rows.
async fn tables(database: &Database, schema: &str) -> Result<Vec<(String, i64, Option<String>)>> {
    let options = database.options()?.options([("search_path", format!("{schema}, public"))]);
    let mut db = PgConnection::connect_with(&options).await?;
    let mut all = Vec::new();
    for table in TABLES {
        let statement =
            format!("select count(*), md5(string_agg(md5(t::text), '' order by md5(t::text))) from {table} as t");
        let (count, digest) = sqlx::query_as(AssertSqlSafe(statement)).fetch_one(&mut db).await?;
        all.push((table.to_owned(), count, digest));
    }
    db.close().await?;
    Ok(all)
}

/// The most memory that this process had at once.
fn peak_kilobytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().trim_end_matches(" kB").parse().ok()
}
