//! Delivers a history in three ways, and compares what each makes of it with the rows that are expected.
//!
//! `DATABASE_URL=… cargo run -p projections --example sample -- history.ndjson.gz expected/ [seed]`
//!
//! In order; shuffled between aggregates in batches of any size; and shuffled over two connections at once. A new
//! projection has found its mistakes here if it has any that depend on order or company.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use events::{AppendLine, EventId, EventSet, Payload, Position, Recorded, Version};
use flate2::read::GzDecoder;
use projections::learner_journeys::LearnerJourneys;
use projections::learner_progress::LearnerProgress;
use projections::user_directory::UserDirectory;
use projections::vocabulary::Vocabulary;
use rand::prelude::*;
use read_model::testing::Generation;
use read_model::{Error, Projection};
use serde_json::Value;
use sqlx::{Connection, PgConnection};

#[tokio::main]
async fn main() -> Result<()> {
    let usage = "usage: sample history.ndjson.gz expected/ [seed]";
    let mut arguments = std::env::args().skip(1);
    let history = read_history(arguments.next().context(usage)?.as_ref())?;
    let sample = Sample {
        history,
        expected: arguments.next().context(usage)?.into(),
        database: std::env::var("DATABASE_URL").context("DATABASE_URL")?,
        seed: arguments.next().map_or(Ok(rand::random()), |seed| seed.parse())?,
    };
    println!("{} events, seed {}", sample.history.len(), sample.seed);
    sample.check::<Vocabulary>(&["vocabulary_entries", "vocabulary_items"]).await?;
    sample.check::<LearnerProgress>(&["learning_sessions", "item_mastery", "daily_progress", "user_progress"]).await?;
    sample.check::<LearnerJourneys>(&["learner_journeys"]).await?;
    sample.check::<UserDirectory>(&["users"]).await
}

struct Sample {
    history: Vec<Recorded<Payload>>,
    expected: PathBuf,
    database: String,
    seed: u64,
}

impl Sample {
    async fn check<P: Projection>(&self, tables: &[&str]) -> Result<()>
    where
        P::Event: Clone + Sync,
    {
        let mut random = StdRng::seed_from_u64(self.seed);
        let mut db = PgConnection::connect(&self.database).await?;
        let events = self.of::<P::Event>()?;

        let generation = Generation::<P>::create(&mut db).await?;
        generation.apply(&mut db, &events, 1000).await?;
        self.compare("in order", generation, tables, &mut db).await?;

        let generation = Generation::<P>::create(&mut db).await?;
        let shuffled = between_aggregates(&events, &mut random);
        deliver(&generation, &mut db, &shuffled, random.random()).await?;
        self.compare("shuffled", generation, tables, &mut db).await?;

        let generation = Generation::<P>::create(&mut db).await?;
        let sides: HashMap<_, bool> = events.iter().map(|event| (event.aggregate_id, random.random())).collect();
        let shuffled = between_aggregates(&events, &mut random);
        let (left, right): (Vec<_>, Vec<_>) = shuffled.into_iter().partition(|event| sides[&event.aggregate_id]);
        let mut other = PgConnection::connect(&self.database).await?;
        tokio::try_join!(
            deliver(&generation, &mut db, &left, random.random()),
            deliver(&generation, &mut other, &right, random.random()),
        )?;
        self.compare("two at once", generation, tables, &mut db).await
    }

    fn of<E: EventSet>(&self) -> Result<Vec<Recorded<E>>> {
        let ours =
            self.history.iter().filter(|event| E::TOPICS.iter().any(|topic| topic.carries(&event.data.aggregate_type)));
        ours.filter_map(|event| event.decode().transpose()).map(|event| Ok(event?)).collect()
    }

    async fn compare<P: Projection>(
        &self,
        delivery: &str,
        generation: Generation<P>,
        tables: &[&str],
        db: &mut PgConnection,
    ) -> Result<()> {
        for table in tables {
            let rows = generation.rows(db, table).await?;
            let expected: Vec<BTreeMap<String, Value>> =
                lines(&self.expected.join(format!("{table}.ndjson.gz")))?.collect::<Result<_>>()?;
            ensure!(rows.len() == expected.len(), "{table}: {} rows, expected {}", rows.len(), expected.len());
            for (row, expected) in rows.iter().zip(&expected) {
                let same = expected.iter().all(|(column, value)| row.get(column) == Some(value));
                ensure!(same, "{table}, {delivery}:\n{row}\nexpected\n{expected:?}");
            }
            println!("{}.{table}, {delivery}: {} rows equal", P::NAME, rows.len());
        }
        Ok(generation.drop(db).await?)
    }
}

/// Applies in batches of 1 to 300 events.
async fn deliver<P: Projection>(
    generation: &Generation<P>,
    db: &mut PgConnection,
    mut events: &[Recorded<P::Event>],
    seed: u64,
) -> Result<(), Error> {
    let mut random = StdRng::seed_from_u64(seed);
    while !events.is_empty() {
        let (batch, rest) = events.split_at(random.random_range(1..=300).min(events.len()));
        generation.apply(db, batch, batch.len()).await?;
        events = rest;
    }
    Ok(())
}

/// Any order between aggregates, the same within one.
fn between_aggregates<E: Clone>(events: &[Recorded<E>], random: &mut StdRng) -> Vec<Recorded<E>> {
    let mut turns: Vec<_> = events.iter().map(|event| event.aggregate_id).collect();
    turns.shuffle(random);
    let mut waiting: HashMap<_, VecDeque<_>> = HashMap::new();
    for event in events {
        waiting.entry(event.aggregate_id).or_default().push_back(event);
    }
    turns.iter().filter_map(|aggregate| waiting.get_mut(aggregate)?.pop_front().cloned()).collect()
}

fn read_history(path: &Path) -> Result<Vec<Recorded<Payload>>> {
    let mut versions = HashMap::new();
    let mut history = Vec::new();
    for line in lines::<AppendLine>(path)? {
        let line = line?;
        for event in line.events {
            let version = versions.entry(line.aggregate_id).or_insert(Version::NONE);
            *version = version.next();
            history.push(Recorded {
                event_id: event.event_id.unwrap_or_else(EventId::generate),
                aggregate_id: line.aggregate_id,
                version: *version,
                position: Position(history.len() as i64 + 1),
                occurred_at: event.occurred_at,
                recorded_at: event.occurred_at,
                data: Payload {
                    aggregate_type: line.aggregate_type.clone(),
                    event_type: event.event_type,
                    event_data: event.event_data,
                    metadata: serde_json::from_str(event.metadata.get())?,
                },
            });
        }
    }
    Ok(history)
}

fn lines<T: serde::de::DeserializeOwned>(path: &Path) -> Result<impl Iterator<Item = Result<T>>> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    Ok(lines.map(|line| Ok(serde_json::from_str(&line?)?)))
}
