//! Texts and JSON as people and machines write them.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

const WORDS: &[&str] = &[
    "cerecloth",
    "straight-grained",
    "naïve",
    "Weiß",
    "東京",
    "שלום",
    "e\u{301}clair",
    "👩‍🏫",
    "O'Brien; drop table users; --",
    "\"quoted\" \\ {braces} [brackets], commas",
    "line\nbreak\tand\u{1}control",
    "null",
    "%s $1 {}",
    " ",
];

pub fn word(rng: &mut StdRng) -> String {
    match rng.random_range(0..20) {
        0 => String::new(),
        1 => "long ".repeat(rng.random_range(1..200)),
        2..12 => format!("{}{}", WORDS.choose(rng).unwrap(), rng.random_range(0..1000)),
        _ => (*WORDS.choose(rng).unwrap()).to_owned(),
    }
}

/// Any JSON, `null` included.
pub fn json(rng: &mut StdRng) -> String {
    let depth = rng.random_range(0..4);
    nested(rng, depth)
}

fn nested(rng: &mut StdRng, depth: u32) -> String {
    match rng.random_range(0..10) {
        0 => "null".to_owned(),
        1 => rng.random_bool(0.5).to_string(),
        2 => rng.random::<i64>().to_string(),
        3 => ["0", "-1", "1.50", "0.1", "3.141592653589793", "1e3", "18446744073709551615"]
            .choose(rng)
            .unwrap()
            .to_string(),
        4 => {
            ["123456789012345678901234567890", "0.1234567890123456789012345", "-1e30"].choose(rng).unwrap().to_string()
        }
        5..8 if depth > 0 => {
            let entries: Vec<String> = (0..rng.random_range(0..4)).map(|_| entry(rng, depth - 1)).collect();
            format!("{{{}}}", entries.join(","))
        }
        8 if depth > 0 => {
            let values: Vec<String> = (0..rng.random_range(0..4)).map(|_| nested(rng, depth - 1)).collect();
            format!("[{}]", values.join(","))
        }
        _ => text(&word(rng)),
    }
}

fn entry(rng: &mut StdRng, depth: u32) -> String {
    format!("{}:{}", text(&word(rng)), nested(rng, depth))
}

pub fn text(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}
