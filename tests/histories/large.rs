//! Events that are large, by something in them that nobody reads.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::History;

/// What the largest has, in bytes.
const LARGEST: f64 = 4e6;

impl History {
    /// Makes so many events large: from 1 kB to 4 MB, few of them very.
    pub fn enlarge(mut self, seed: u64, count: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let places: Vec<usize> = (0..self.lines.len()).collect();
        for place in places.choose_multiple(&mut rng, count) {
            let Some(event) = self.lines[*place].events.first_mut() else { continue };
            let bytes = 1e3 * (LARGEST / 1e3).powf(rng.random::<f64>());
            event.event_data = padded(&event.event_data, bytes as usize);
        }
        self
    }
}

fn padded(data: &RawValue, bytes: usize) -> Box<RawValue> {
    let mut data: serde_json::Map<String, Value> = serde_json::from_str(data.get()).unwrap();
    data.insert("padding".to_owned(), "x".repeat(bytes).into());
    to_raw_value(&data).unwrap()
}
