//! Applying the sample history: in batches, as the workers do, beside one event a transaction.
//!
//! Both sides get the same recorded events, decode them, and end in the same rows; that is looked at first.

mod one_by_one;
mod sample;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use event_store::read::{self, Filter};
use events::{Position, Topic};
use fleet::roles;
use projections::topics::{PROGRESS, VOCABULARY};
use prometheus::Registry;
use sqlx::{Connection, PgConnection};
use workers::apply::{Applier, Mode};
use workers::verdict::Event;

use crate::Options;
use crate::cpu::Usage;
use crate::numbers::{Gate, Spread, microseconds, thousands};
use crate::server::{Database, Server};
use one_by_one::OneByOne;

/// So many events, and at least one batch, come first and do not count: they find the statements unprepared.
const WARM_UP: usize = 200;

/// So many events are applied both ways and compared.
const COMPARED: usize = 1500;

/// One way of applying a history.
struct Design {
    what: &'static str,
    history: Vec<Event>,
    way: Way,
}

enum Way {
    Batches { projection: &'static str, size: usize },
    OneByOne,
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

pub async fn measure(server: &Server, options: Options) -> Result<Vec<Gate>> {
    let store = server.empty().await?;
    let (appender, task) = store.appender(|_| ())?;
    store.load(&appender, sample::appends()?.into_iter()).await.context("loading the sample history")?;
    drop(appender);
    task.await?;
    let progress = history(&store, &PROGRESS).await?;
    let vocabulary = history(&store, &VOCABULARY).await?;
    compare(server, &store, &progress[..COMPARED.min(progress.len())]).await?;

    let batches = |what, history: &[Event], projection, size| Design {
        what,
        history: history.to_vec(),
        way: Way::Batches { projection, size },
    };
    let sessions_interleaved = interleaved(&progress);
    let designs = [
        Design { what: "learner_progress", history: progress.clone(), way: Way::OneByOne },
        batches("learner_progress", &progress, "learner_progress", 1000),
        batches("learner_progress", &progress, "learner_progress", 100),
        batches("learner_progress", &progress, "learner_progress", 1),
        batches("learner_progress, sessions interleaved", &sessions_interleaved, "learner_progress", 1000),
        batches("learner_journeys", &progress, "learner_journeys", 1000),
        batches("learner_journeys", &progress, "learner_journeys", 100),
        batches("vocabulary", &vocabulary, "vocabulary", 1000),
        batches("vocabulary", &vocabulary, "vocabulary", 100),
    ];
    let mut cells: Vec<Vec<Cell>> = designs.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds {
        for (design, cells) in designs.iter().zip(&mut cells) {
            eprintln!("apply: round {} of {}, {}", round + 1, options.rounds, design.what);
            cells.push(cell(server, &store, design, options.window * 3).await.context(design.what)?);
        }
    }
    server.drop(store).await?;

    println!(
        "| projection | events a transaction | events/s | : one by one | server µs/event | client µs/event \
         | cores used by others |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for (design, ours) in designs.iter().zip(&cells) {
        print(design, ours, &cells[0]);
    }
    println!("\nThe ratio is taken for `learner_progress` only: the others are less work an event.\n");
    let reached = Spread::of_ratios(&cells[1], &cells[0], Cell::events_per_second);
    let what = "apply, learner_progress, batches of 1000 : one by one".to_owned();
    Ok(vec![Gate { what, at_least: 10.0, reached }])
}

fn print(design: &Design, ours: &[Cell], one_by_one: &[Cell]) {
    let events = ours.iter().map(|cell| cell.events).sum();
    let used = |value: fn(&Usage) -> f64| ours.iter().map(|cell| cell.usage.as_ref().map(value)).sum::<Option<f64>>();
    let (size, ratio) = match design.way {
        Way::OneByOne => ("1, by hand".to_owned(), "1".to_owned()),
        Way::Batches { projection: "learner_progress", size } => {
            (size.to_string(), Spread::of_ratios(ours, one_by_one, Cell::events_per_second).to_string())
        }
        Way::Batches { size, .. } => (size.to_string(), "-".to_owned()),
    };
    println!(
        "| {} | {size} | {} | {ratio} | {} | {} | {} |",
        design.what,
        thousands(Spread::of(ours.iter().map(Cell::events_per_second)).median),
        microseconds(used(|usage| usage.server), events),
        microseconds(used(|usage| usage.client), events),
        used(|usage| usage.others).map_or("-".to_owned(), |sum| format!("{:.1}", sum / ours.len() as f64)),
    );
}

/// Applies the design's history to empty read models, for as long as `limit` at most.
async fn cell(server: &Server, store: &Database, design: &Design, limit: Duration) -> Result<Cell> {
    let database = server.copy_of(store).await?;
    let mut applying = Applying::start(&database, &design.way).await?;
    let size = match design.way {
        Way::Batches { size, .. } => size,
        Way::OneByOne => 1,
    };
    let (warm_up, measured) = design.history.split_at(WARM_UP.max(size).min(design.history.len()));
    for batch in warm_up.chunks(size) {
        applying.apply(batch).await?;
    }
    let before = server.cpu.read();
    let started = Instant::now();
    let mut events = 0;
    for batch in measured.chunks(size) {
        applying.apply(batch).await?;
        events += batch.len() as u64;
        if started.elapsed() >= limit {
            break;
        }
    }
    let elapsed = started.elapsed();
    let after = server.cpu.read();
    drop(applying);
    server.drop(database).await?;
    Ok(Cell { elapsed, events, usage: before.zip(after).map(|(before, after)| after.since(before)) })
}

enum Applying {
    Batches(Box<Applier>),
    OneByOne(OneByOne),
}

impl Applying {
    async fn start(database: &Database, way: &Way) -> Result<Self> {
        Ok(match *way {
            Way::Batches { projection, .. } => {
                let projection = crate::catalogue().projection(projection).context("no such projection")?;
                Self::Batches(Box::new(Applier::new(
                    projection,
                    projection.topics()[0],
                    roles::applying_pool(&database.url, 2)?,
                    workers::Metrics::register(&Registry::new())?,
                )))
            }
            Way::OneByOne => Self::OneByOne(OneByOne::connect(database).await?),
        })
    }

    async fn apply(&mut self, events: &[Event]) -> Result<()> {
        match self {
            Self::Batches(applier) => {
                let tally = applier.apply(events, Mode::Live).await?;
                ensure!(tally.applied + tally.skipped == events.len() as u64, "not all applied: {tally:?}");
            }
            Self::OneByOne(one_by_one) => {
                for event in events {
                    one_by_one.apply(event).await?;
                }
            }
        }
        Ok(())
    }
}

/// Both ways end in the same rows, or their rates could not be compared.
async fn compare(server: &Server, store: &Database, events: &[Event]) -> Result<()> {
    let mut rows = Vec::new();
    for way in [Way::OneByOne, Way::Batches { projection: "learner_progress", size: 1000 }] {
        let database = server.copy_of(store).await?;
        let mut applying = Applying::start(&database, &way).await?;
        for batch in events.chunks(1000) {
            applying.apply(batch).await?;
        }
        drop(applying);
        rows.push(tables(&database).await?);
        server.drop(database).await?;
    }
    ensure!(rows[0] == rows[1], "the two ways end in different rows");
    Ok(())
}

/// Everything that applying wrote, but for the times at which it did.
async fn tables(database: &Database) -> Result<Vec<String>> {
    let options = database.options()?.options([("search_path", "learner_progress, public")]);
    let mut db = PgConnection::connect_with(&options).await?;
    let rows = sqlx::query_scalar(
        "select to_jsonb(t)::text from learning_sessions as t
         union all select to_jsonb(t)::text from item_mastery as t
         union all select to_jsonb(t)::text from daily_progress as t
         union all select to_jsonb(t)::text from user_progress as t
         union all select to_jsonb(t)::text from projected_aggregates as t
         union all select to_jsonb(t)::text from (select projection, event_id, position from processed_event_ids) as t
         order by 1",
    );
    Ok(rows.fetch_all(&mut db).await?)
}

/// The events of a topic, as its workers get them.
async fn history(store: &Database, topic: &Topic) -> Result<Vec<Event>> {
    let pool = store.pool()?;
    let head = read::head(&pool).await?;
    let filter = Filter::aggregate_types(topic.aggregate_types);
    let (mut events, mut after) = (Vec::new(), Position::START);
    while after < head {
        let page = read::page(&pool, after, head, head.0, &filter).await?;
        events.extend(page.events.into_iter().map(Event::new));
        after = page.upto;
    }
    pool.close().await;
    Ok(events)
}

/// The first events of all aggregates, then all second ones, and so on: the sample has one session after another, and
/// a thousand learners at once would not be so kind.
fn interleaved(history: &[Event]) -> Vec<Event> {
    let mut history = history.to_vec();
    history.sort_by_key(|event| (event.version, event.position));
    history
}
