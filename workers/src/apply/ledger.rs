//! How far the aggregates of a batch are applied: read under lock, moved in memory, recorded at the end.

use std::collections::{BTreeMap, BTreeSet};

use events::{AggregateId, EventId, Topic, Version};
use read_model::AnyProjection;
use sqlx::PgConnection;

use super::Error;
use crate::dead_letters::park::Parked;
use crate::fence::Fence;
use crate::verdict::{Applied, Event, Verdict};

pub(crate) struct Ledger {
    projection: &'static dyn AnyProjection,
    topic: &'static Topic,
    pub fence: Fence,
    aggregates: BTreeMap<AggregateId, Applied>,
    /// Those that had a row when they were locked.
    known: BTreeSet<AggregateId>,
    changed: BTreeSet<AggregateId>,
    event_ids: Vec<uuid::Uuid>,
    positions: Vec<i64>,
    /// Whether ids are remembered: where positions say what is applied, they are not.
    remembers: bool,
    /// Events that a person decided to go on without.
    discarded: BTreeSet<EventId>,
    /// Events that are parked when this is committed.
    parked: Vec<Parked>,
}

impl Ledger {
    pub async fn lock(
        db: &mut PgConnection,
        (projection, topic): (&'static dyn AnyProjection, &'static Topic),
        fence: Fence,
        ids: BTreeSet<AggregateId>,
    ) -> sqlx::Result<Self> {
        let wanted: Vec<_> = ids.iter().map(|id| id.0).collect();
        let rows = sqlx::query_file!("src/apply/locked.sql", projection.name(), fence.generation, &wanted)
            .fetch_all(db)
            .await?;
        let aggregates: BTreeMap<_, _> = rows
            .into_iter()
            .map(|row| (AggregateId(row.aggregate_id), Applied { version: Version(row.version), held: row.held }))
            .collect();
        Ok(Self {
            projection,
            topic,
            fence,
            known: aggregates.keys().copied().collect(),
            aggregates,
            changed: BTreeSet::new(),
            event_ids: Vec::new(),
            positions: Vec::new(),
            remembers: true,
            discarded: BTreeSet::new(),
            parked: Vec::new(),
        })
    }

    #[must_use]
    pub fn without_ids(self) -> Self {
        Self { remembers: false, ..self }
    }

    #[must_use]
    pub fn passing_over(self, discarded: BTreeSet<EventId>) -> Self {
        Self { discarded, ..self }
    }

    /// Passes over these as well.
    pub fn pass_over_events(&mut self, discarded: BTreeSet<EventId>) {
        self.discarded.extend(discarded);
    }

    pub fn passes_over(&self, event: &Event) -> bool {
        self.discarded.contains(&event.event_id)
    }

    pub fn aggregates(&self) -> &BTreeMap<AggregateId, Applied> {
        &self.aggregates
    }

    pub fn judge(&self, event: &Event) -> Verdict {
        self.applied_of(event.aggregate_id).judge(event.version)
    }

    pub fn applied_of(&self, id: AggregateId) -> Applied {
        self.aggregates.get(&id).copied().unwrap_or(Applied::NOTHING)
    }

    pub fn applied(&mut self, event: &Event) {
        self.aggregates.entry(event.aggregate_id).or_insert(Applied::NOTHING).version = event.version;
        self.changed.insert(event.aggregate_id);
        if self.remembers {
            self.event_ids.push(event.event_id.0);
            self.positions.push(event.position.0);
        }
    }

    pub fn hold(&mut self, id: AggregateId) {
        self.aggregates.entry(id).or_insert(Applied::NOTHING).held = true;
        self.changed.insert(id);
    }

    /// Holds the aggregate behind it.
    pub fn park(&mut self, id: AggregateId, parked: Parked) {
        self.parked.push(parked);
        self.hold(id);
    }

    /// What is parked, to be said when it is committed.
    pub fn parked(&mut self) -> Vec<Parked> {
        std::mem::take(&mut self.parked)
    }

    /// The hold ends, as far as this transaction can see.
    pub fn release(&mut self, id: AggregateId) {
        self.aggregates.entry(id).or_insert(Applied::NOTHING).held = false;
        self.changed.insert(id);
    }

    /// Goes on behind an event without applying it.
    pub fn pass_over(&mut self, id: AggregateId, version: Version) {
        self.aggregates.entry(id).or_insert(Applied::NOTHING).version = version;
        self.changed.insert(id);
    }

    pub fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Writes it down.
    ///
    /// # Errors
    /// Another worker was first with one of the aggregates, and nothing of this may be kept.
    pub async fn record(self, db: &mut PgConnection) -> Result<(), Error> {
        let mut known = Columns::default();
        let mut fresh = Columns::default();
        for id in &self.changed {
            let columns = if self.known.contains(id) { &mut known } else { &mut fresh };
            columns.push(*id, self.aggregates[id]);
        }
        // Most read models have one topic, and an id is smaller without it.
        let remembered = (self.projection.topics().len() > 1).then_some(self.topic.name);
        let lost = sqlx::query_file_scalar!(
            "src/apply/record.sql",
            self.projection.name(),
            self.fence.generation,
            &known.ids,
            &known.versions,
            &known.held,
            &fresh.ids,
            &fresh.versions,
            &fresh.held,
            &self.event_ids,
            &self.positions,
            self.topic.name,
            remembered
        )
        .fetch_one(db)
        .await?;
        if lost == 0 { Ok(()) } else { Err(Error::Raced) }
    }
}

#[derive(Default)]
struct Columns {
    ids: Vec<uuid::Uuid>,
    versions: Vec<i32>,
    held: Vec<bool>,
}

impl Columns {
    fn push(&mut self, id: AggregateId, applied: Applied) {
        self.ids.push(id.0);
        self.versions.push(applied.version.0);
        self.held.push(applied.held);
    }
}
