//! Events that a command side should not have written: what the store takes and no projection can apply.

use events::EventLine;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use serde_json::{Value, json};

use super::{History, Poisoned};

/// In which projections it is poison, and the fields that cannot be read as what they should be.
type Poison = (&'static [&'static str], Value);

fn poison(event_type: &str) -> Option<Poison> {
    const VOCABULARY: &[&str] = &["vocabulary"];
    const STUDY: &[&str] = &["learner_progress", "learner_journeys"];
    const STUDIED: &[&str] = &["learner_progress", "learner_journeys", "learning_time"];
    const USERS: &[&str] = &["user_directory"];
    const NAMES: &[&str] = &["user_directory", "learning_time"];
    let (projections, wrong) = match event_type {
        "EntryCreated" | "ItemCreated" => (VOCABULARY, json!({"spelling": 5})),
        "FieldUpdated" => (VOCABULARY, json!({"field_path": ["definitions", 0]})),
        "ItemUpdated" => (VOCABULARY, json!({"field_name": 7})),
        "AIGenerationCompleted" => (VOCABULARY, json!({"generated_content": "a text"})),
        "SessionStarted" => (STUDY, json!({"strategy": 1, "user_id": "nobody"})),
        "CorrectnessJudged" => (STUDY, json!({"judgment": "maybe"})),
        "SessionCompleted" => (STUDIED, json!({"duration_seconds": "long", "reason": {}})),
        "UserSignedUp" => (NAMES, json!({"email": 4})),
        "UserProfileUpdated" => (NAMES, json!({"first_name": []})),
        "UserEmailUpdated" => (USERS, json!({"email": 4})),
        "LearningGoalSet" => (USERS, json!({"daily_goal": "thirty"})),
        _ => return None,
    };
    Some((projections, wrong))
}

impl History {
    /// Makes one event poison in this share of the aggregates that a projection reads, at any place in their life.
    pub fn poison(mut self, seed: u64, share: f64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        // In the order of the file, so that the seed decides.
        let mut aggregates = Vec::new();
        for line in &self.lines {
            if line.aggregate_type != "LearnerMilestone" && line.expected_version.is_some_and(|version| version.0 == 0)
            {
                aggregates.push(line.aggregate_id);
            }
        }
        let count = (aggregates.len() as f64 * share).ceil() as usize;
        aggregates.shuffle(&mut rng);
        for aggregate_id in aggregates.into_iter().take(count) {
            let lines = self.lines.iter_mut().filter(|line| line.aggregate_id == aggregate_id);
            let mut events: Vec<(i64, &mut EventLine)> = (1..)
                .zip(lines.flat_map(|line| &mut line.events))
                .filter(|(_, event)| poison(&event.event_type).is_some())
                .collect();
            let places: Vec<usize> = (0..events.len()).collect();
            let Some(place) = places.choose(&mut rng) else { continue };
            let (version, event) = &mut events[*place];
            let Some((projections, wrong)) = poison(&event.event_type) else { continue };
            spoil(event, wrong);
            self.poisoned.push(Poisoned {
                aggregate_id,
                version: *version,
                event_id: event.event_id.unwrap(),
                event_type: event.event_type.clone(),
                projections,
            });
        }
        self
    }
}

fn spoil(event: &mut EventLine, wrong: Value) {
    let mut data: serde_json::Map<String, Value> = serde_json::from_str(event.event_data.get()).unwrap();
    data.extend(wrong.as_object().unwrap().clone());
    event.event_data = serde_json::value::to_raw_value(&data).unwrap();
}
