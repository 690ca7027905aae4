//! What comes in from outside: everything that fuzzing starts from, and a little fuzzing, without its tools.

use std::path::Path;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::properties;
use crate::sample::seeded;

/// For each target. It ends earlier on a slow machine.
const MUTATIONS: u32 = 20_000;
const LIMIT: Duration = Duration::from_secs(5);

/// What a blind change of bytes hardly ever hits upon.
const TOKENS: &[&[u8]] = &[
    b"null",
    b"true",
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b"\"",
    b"\\u0000",
    b"\\ud800",
    b"\\udc00",
    b"\0",
    b"\xff",
    b"-1",
    b"0",
    b"1.5",
    b"1e400",
    b"9223372036854775807",
    b"9223372036854775808",
    b"-9223372036854775808",
    b"2147483648",
    b"\"schema_version\":1,",
    b"\"schema_version\":2,",
    b"\"position\":0,",
    b"\"from\":1,",
    b"\"to\":1,",
    b"2016-12-31T23:59:60Z",
    b"+262142-12-31T23:59:59.999999999Z",
    b"-262143-01-01T00:00:00Z",
    b"0000-01-01T00:00:00-23:59",
];

/// Shows the bytes that broke something.
struct Shown<'a>(&'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input was b\"{}\"", self.0.escape_ascii());
        }
    }
}

fn holds(target: fn(&[u8]), seeds: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(seeds);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let seeds: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    assert!(seeds.len() >= 10, "{files:?}");
    let check = |data: &[u8]| {
        let _shown = Shown(data);
        target(data);
    };
    seeds.iter().for_each(|seed| check(seed));

    let mut rng = seeded();
    let started = Instant::now();
    for round in 0..MUTATIONS {
        if started.elapsed() > LIMIT {
            println!("{round} mutations within {LIMIT:?}");
            return;
        }
        check(&mutated(&seeds, &mut rng));
    }
}

fn mutated(seeds: &[Vec<u8>], rng: &mut StdRng) -> Vec<u8> {
    let mut data = seeds.choose(rng).unwrap().clone();
    for _ in 0..rng.random_range(1..5) {
        let from = rng.random_range(0..=data.len());
        let to = rng.random_range(from..=data.len().min(from + 40));
        match rng.random_range(0..6) {
            0 => data.truncate(from),
            1 => drop(data.drain(from..to)),
            2 => drop(data.splice(from..from, data[from..to].to_vec())),
            3 => drop(data.splice(from..to, TOKENS.choose(rng).unwrap().iter().copied())),
            4 if from < data.len() => data[from] ^= 1 << rng.random_range(0..8),
            _ => {
                let other = seeds.choose(rng).unwrap();
                let at = rng.random_range(0..=other.len());
                drop(data.splice(from..to, other[at..].iter().copied()));
            }
        }
    }
    data
}

#[test]
fn whatever_a_message_says_it_is_refused_or_it_is_the_same_after_the_bus() {
    holds(properties::wire, "wire");
}

#[test]
fn whatever_is_pushed_is_refused_or_it_is_the_same_when_it_is_pushed_again() {
    holds(properties::push, "push");
}

#[test]
fn whatever_a_replay_asks_for_is_refused_or_it_means_what_it_says() {
    holds(properties::selection, "selection");
}

#[test]
fn whatever_is_shown_at_a_door_lets_in_nobody_whom_it_does_not_know() {
    holds(properties::token, "token");
}

#[test]
fn whatever_the_admin_api_is_sent_is_refused_or_it_is_the_same_when_it_is_sent_again() {
    holds(properties::admin_body, "admin_body");
}
