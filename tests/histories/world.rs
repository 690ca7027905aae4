//! A little world in which things happen one after the other, and everywhere at once.

use chrono::{DateTime, Duration, Utc};
use events::{AggregateId, AppendLine, EventId, EventLine, Version};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::learners::{Session, User};
use super::vocabulary::{Entry, Item};

pub struct World {
    pub rng: StdRng,
    now: DateTime<Utc>,
    lines: Vec<AppendLine>,
    pub users: Vec<User>,
    pub entries: Vec<Entry>,
    pub items: Vec<Item>,
    /// Not ended yet.
    pub sessions: Vec<Session>,
    pub milestones: Vec<Aggregate>,
}

/// What an append needs to know of its aggregate.
#[derive(Debug, Clone)]
pub struct Aggregate {
    pub id: Uuid,
    pub kind: &'static str,
    pub version: i32,
}

/// An event that is about to happen.
pub struct Happening {
    pub event_type: &'static str,
    pub schema_version: u32,
    /// A JSON object.
    pub data: String,
}

pub fn happening(event_type: &'static str, data: impl ToString) -> Happening {
    Happening { event_type, schema_version: 1, data: data.to_string() }
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            now: "2026-02-26T21:47:13.250Z".parse().unwrap(),
            lines: Vec::new(),
            users: Vec::new(),
            entries: Vec::new(),
            items: Vec::new(),
            sessions: Vec::new(),
            milestones: Vec::new(),
        }
    }

    /// Lets things happen until there are this many events.
    pub fn history(mut self, events: usize) -> Vec<AppendLine> {
        let mut count = 0;
        while count < events {
            let before = self.lines.len();
            self.step();
            for line in &mut self.lines[before..] {
                line.events.truncate(events - count);
                count += line.events.len();
            }
            self.lines.retain(|line| !line.events.is_empty());
        }
        self.lines
    }

    fn step(&mut self) {
        self.pass_time();
        match self.rng.random_range(0..100) {
            _ if self.users.len() < 3 => self.sign_up(),
            _ if self.entries.len() < 3 => self.create_entry(),
            _ if self.items.len() < 3 => self.create_item(),
            0..4 => self.sign_up(),
            4..9 => self.change_user(),
            9..13 => self.create_entry(),
            13..20 => self.create_item(),
            20..45 => self.change_item(),
            45..52 => self.start_session(),
            52..54 => self.achieve_milestone(),
            _ if self.sessions.is_empty() => self.start_session(),
            _ => self.study(),
        }
    }

    /// Often none at all passes, so that many things happen at the same time; sometimes half a day.
    fn pass_time(&mut self) {
        let passed = match self.rng.random_range(0..100) {
            0..40 => Duration::zero(),
            40..60 => Duration::microseconds(self.rng.random_range(1..1000)),
            60..97 => Duration::milliseconds(self.rng.random_range(1..30_000)),
            _ => Duration::seconds(self.rng.random_range(1..40_000)),
        };
        self.now += passed;
    }

    pub fn id(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(self.rng.random()).into_uuid()
    }

    pub fn aggregate(&mut self, kind: &'static str) -> Aggregate {
        Aggregate { id: self.id(), kind, version: 0 }
    }

    /// One of many, the first more often than the last: much happens to few, and to the same ones at once.
    pub fn favourite(&mut self, count: usize) -> usize {
        let place: f64 = self.rng.random();
        ((place * place * count as f64) as usize).min(count - 1)
    }

    pub fn append(&mut self, aggregate: &mut Aggregate, happenings: impl IntoIterator<Item = Happening>) {
        // Clocks of writers differ, and a write may be late: time of occurrence is not order.
        let late = if self.rng.random_ratio(1, 20) { self.rng.random_range(0..3_000_000) } else { 0 };
        let occurred_at = self.now - Duration::microseconds(late);
        let events: Vec<EventLine> = happenings
            .into_iter()
            .map(|happening| EventLine {
                event_id: Some(EventId(self.id())),
                event_type: happening.event_type.to_owned(),
                event_data: RawValue::from_string(happening.data).unwrap(),
                metadata: self.metadata(happening.schema_version),
                occurred_at,
            })
            .collect();
        let expected_version = Some(Version(aggregate.version));
        aggregate.version += events.len() as i32;
        let idempotency_key = self.rng.random_ratio(9, 10).then(|| self.id().to_string());
        let (aggregate_id, aggregate_type) = (AggregateId(aggregate.id), aggregate.kind.to_owned());
        self.lines.push(AppendLine { aggregate_id, aggregate_type, expected_version, idempotency_key, events });
    }

    /// As writers leave it: the schema version only where it says something, ids of other systems, what nobody knows.
    fn metadata(&mut self, schema_version: u32) -> Box<RawValue> {
        let mut metadata: Vec<String> = Vec::new();
        if schema_version > 1 || self.rng.random_ratio(1, 10) {
            metadata.push(format!(r#""schema_version":{schema_version}"#));
        }
        for (name, share) in [("correlation_id", 90), ("causation_id", 30), ("actor", 30), ("tenant", 10)] {
            if self.rng.random_ratio(share, 100) {
                metadata.push(format!(r#""{name}":"{}""#, self.id()));
            }
        }
        if self.rng.random_ratio(1, 20) {
            metadata
                .push(r#""x-client":{"build":1.50,"flags":[null,true,"ß"],"n":12345678901234567890123}"#.to_owned());
        }
        RawValue::from_string(format!("{{{}}}", metadata.join(","))).unwrap()
    }
}
