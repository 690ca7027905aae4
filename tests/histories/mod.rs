//! Histories by seed: any number of events that a real command side could have written, and some that it should not have.
//!
//! A history is made of append requests as `fleet import` takes them. The same seed and size give the same history.

mod large;
mod learners;
mod poison;
mod tests;
mod values;
mod vocabulary;
mod world;

use std::collections::HashMap;
use std::io::Cursor;

use events::{AggregateId, AppendLine, EventId};
use fleet::client;
use fleet::commands::import::{self, Summary};
use indicatif::ProgressBar;

use crate::harness::Process;
use crate::oracle::Held;

#[derive(Debug, Clone)]
pub struct History {
    pub lines: Vec<AppendLine>,
    pub poisoned: Vec<Poisoned>,
}

/// An event that is in the history and that projections cannot apply.
#[derive(Debug, Clone)]
pub struct Poisoned {
    pub aggregate_id: AggregateId,
    pub version: i64,
    pub event_id: EventId,
    pub event_type: String,
    /// In which its aggregate is held.
    pub projections: &'static [&'static str],
}

impl History {
    /// A history of exactly this many events.
    pub fn of(seed: u64, events: usize) -> Self {
        Self { lines: world::World::new(seed).history(events), poisoned: Vec::new() }
    }

    pub fn events(&self) -> usize {
        self.lines.iter().map(|line| line.events.len()).sum()
    }

    /// As a file for `fleet import`.
    pub fn ndjson(&self) -> Vec<u8> {
        let mut file = Vec::new();
        for line in &self.lines {
            serde_json::to_writer(&mut file, line).unwrap();
            file.push(b'\n');
        }
        file
    }

    /// Loads it through gRPC.
    pub async fn load(&self, store: &Process) {
        let at = client::EventStore::at(&store.grpc());
        let summary = import::import(&at, Cursor::new(self.ndjson()), &ProgressBar::hidden()).await.unwrap();
        let (requests, events) = (self.lines.len() as u64, self.events() as u64);
        assert_eq!(summary, Summary { requests, events, known: summary.known, refused: 0, existing: 0 });
    }

    /// What is held once everything that can be applied is applied.
    pub fn held(&self) -> Held {
        let mut held = Held::default();
        for poisoned in &self.poisoned {
            for projection in poisoned.projections {
                held.after(projection, poisoned.aggregate_id, poisoned.version - 1);
            }
        }
        held
    }

    /// How many events each aggregate has.
    fn sizes(&self) -> HashMap<AggregateId, usize> {
        let mut sizes = HashMap::new();
        for line in &self.lines {
            *sizes.entry(line.aggregate_id).or_default() += line.events.len();
        }
        sizes
    }
}
