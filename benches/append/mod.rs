//! Appends from many writers: group commit beside one commit per append.
//!
//! A closed loop: each writer appends 1 to 3 events to one of its own aggregates, waits for the answer, appends again.
//! All designs write to the same tables, which hold the same history at the start.

mod plain;
mod workload;

use std::fmt;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use event_store::append::Appender;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;

use crate::Options;
use crate::cpu::Usage;
use crate::numbers::{Gate, Spread, microseconds, percentile, thousands};
use crate::server::{Database, Server};
use workload::{Aggregate, Writer};

const WRITERS: [usize; 4] = [1, 8, 32, 128];

/// Before anything is measured, all writers run for so long.
const WARM_UP: Duration = Duration::from_millis(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Design {
    /// The product, whose writer knows the versions of all aggregates from having appended to them.
    Group,
    /// The product, with a writer that has to ask the store for every version.
    GroupCold,
    /// A transaction per append: the head, the rows.
    Transaction,
    /// A statement an append that does both.
    Statement,
}

const DESIGNS: [Design; 4] = [Design::Group, Design::GroupCold, Design::Transaction, Design::Statement];

impl fmt::Display for Design {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Group => "group commit",
            Self::GroupCold => "group commit, cold heads",
            Self::Transaction => "one transaction per append",
            Self::Statement => "one statement per append",
        })
    }
}

/// One design in one round.
struct Cell {
    elapsed: Duration,
    events: u64,
    /// Of the appends, sorted.
    latencies: Vec<Duration>,
    usage: Option<Usage>,
}

impl Cell {
    fn events_per_second(&self) -> f64 {
        self.events as f64 / self.elapsed.as_secs_f64()
    }

    fn appends_per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    fn milliseconds(&self, percent: usize) -> f64 {
        percentile(&self.latencies, percent).as_secs_f64() * 1e3
    }
}

pub async fn measure(server: &Server, options: Options) -> Result<Vec<Gate>> {
    println!(
        "| writers | design | events/s | appends/s | p50 ms | p99 ms | : transaction | : statement \
         | server µs/event | client µs/event | cores used by others |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let mut gates = Vec::new();
    for writers in WRITERS {
        let mut cells: [Vec<Cell>; 4] = Default::default();
        for round in 0..options.rounds {
            for (design, cells) in DESIGNS.into_iter().zip(&mut cells) {
                eprintln!("append: {writers} writers, round {} of {}, {design}", round + 1, options.rounds);
                cells.push(cell(server, design, writers, options.window).await.context(design)?);
            }
        }
        for (design, ours) in DESIGNS.into_iter().zip(&cells) {
            print(writers, design, ours, &cells);
        }
        let [group, _, transaction, statement] = &cells;
        gates.extend(targets(writers).into_iter().map(|(theirs, at_least)| {
            let other = if theirs == Design::Transaction { transaction } else { statement };
            let reached = Spread::of_ratios(group, other, Cell::events_per_second);
            Gate { what: format!("append, {writers} writers, group commit : {theirs}"), at_least, reached }
        }));
    }
    println!();
    Ok(gates)
}

/// What the group commit is meant to reach, as a multiple of events per second.
fn targets(writers: usize) -> Vec<(Design, f64)> {
    match writers {
        1 => vec![(Design::Statement, 0.85)],
        8 => vec![(Design::Statement, 1.1)],
        32 => vec![(Design::Transaction, 1.4), (Design::Statement, 1.8)],
        _ => vec![(Design::Statement, 3.3)],
    }
}

fn print(writers: usize, design: Design, ours: &[Cell], [_, _, transaction, statement]: &[Vec<Cell>; 4]) {
    let median = |value: fn(&Cell) -> f64| Spread::of(ours.iter().map(value)).median;
    let events = ours.iter().map(|cell| cell.events).sum();
    let used = |value: fn(&Usage) -> f64| ours.iter().map(|cell| cell.usage.as_ref().map(value)).sum::<Option<f64>>();
    println!(
        "| {writers} | {design} | {} | {} | {:.2} | {:.2} | {} | {} | {} | {} | {} |",
        thousands(median(Cell::events_per_second)),
        thousands(median(Cell::appends_per_second)),
        median(|cell| cell.milliseconds(50)),
        median(|cell| cell.milliseconds(99)),
        Spread::of_ratios(ours, transaction, Cell::events_per_second),
        Spread::of_ratios(ours, statement, Cell::events_per_second),
        microseconds(used(|usage| usage.server), events),
        microseconds(used(|usage| usage.client), events),
        used(|usage| usage.others).map_or("-".to_owned(), |sum| format!("{:.1}", sum / ours.len() as f64)),
    );
}

/// Everything fresh: database, history, connections.
async fn cell(server: &Server, design: Design, writers: usize, window: Duration) -> Result<Cell> {
    let database = server.empty().await?;
    let mut aggregates = workload::aggregates();
    let lanes = lanes(&database, design, writers, &mut aggregates).await?;

    let start = Instant::now() + WARM_UP;
    let end = start + window;
    let mut running = JoinSet::new();
    for (number, lane) in lanes.into_iter().enumerate() {
        let writer = Writer::new(number as u64, aggregates.iter().skip(number).step_by(writers).copied().collect());
        running.spawn(run(lane, writer, start, end));
    }
    tokio::time::sleep_until(start.into()).await;
    let before = server.cpu.read();
    tokio::time::sleep_until(end.into()).await;
    let after = server.cpu.read();
    let mut cell = Cell {
        elapsed: window,
        events: 0,
        latencies: Vec::new(),
        usage: before.zip(after).map(|(before, after)| after.since(before)),
    };
    while let Some(done) = running.join_next().await {
        let (events, latencies) = done??;
        cell.events += events;
        cell.latencies.extend(latencies);
    }
    cell.latencies.sort_unstable();
    server.drop(database).await?;
    Ok(cell)
}

/// Loads the history and opens the writers' ways to it.
async fn lanes(database: &Database, design: Design, writers: usize, aggregates: &mut [Aggregate]) -> Result<Vec<Lane>> {
    let (appender, task) = database.appender(|_| ())?;
    database.load(&appender, aggregates.iter_mut().map(workload::first)).await?;
    prepare(database).await?;
    if design == Design::Group {
        return Ok((0..writers).map(|_| Lane::Group(appender.clone())).collect());
    }
    drop(appender);
    task.await?;
    if design == Design::GroupCold {
        let (cold, _task) = database.appender(|config| config.heads = NonZeroUsize::MIN)?;
        return Ok((0..writers).map(|_| Lane::Group(cold.clone())).collect());
    }
    let mut lanes = Vec::new();
    for _ in 0..writers {
        // A connection for each writer, kept: what a pool costs is not charged.
        let db = PgConnection::connect_with(&database.options()?).await?;
        lanes.push(if design == Design::Transaction { Lane::Transaction(db) } else { Lane::Statement(db) });
    }
    Ok(lanes)
}

/// The planner's view of the history, as a store has it; positions for those who number without the head row.
async fn prepare(database: &Database) -> Result<()> {
    let mut db = PgConnection::connect_with(&database.options()?).await?;
    for statement in [
        "analyze events",
        "create sequence plain_position",
        "select setval('plain_position', position) from event_store_head",
    ] {
        sqlx::query(statement).execute(&mut db).await?;
    }
    Ok(db.close().await?)
}

/// The way of one writer to the store.
enum Lane {
    Group(Appender),
    Transaction(PgConnection),
    Statement(PgConnection),
}

/// Appends until `end`; what was asked for and answered between `start` and `end` counts.
async fn run(mut lane: Lane, mut writer: Writer, start: Instant, end: Instant) -> Result<(u64, Vec<Duration>)> {
    let (mut events, mut latencies) = (0, Vec::new());
    loop {
        let append = writer.next();
        let count = append.events.len() as u64;
        let asked = Instant::now();
        match &mut lane {
            Lane::Group(appender) => drop(appender.append(append).await?),
            Lane::Transaction(db) => plain::transaction(db, &append).await?,
            Lane::Statement(db) => plain::statement(db, &append).await?,
        }
        let answered = Instant::now();
        if answered >= end {
            return Ok((events, latencies));
        }
        if asked >= start {
            events += count;
            latencies.push(answered - asked);
        }
    }
}
