//! What the mutated tree asks at run time; `tests/mutants` puts it into each crate that it changes.
//!
//! `MUTANT=17` is the one mutant that is on. `MUTANT_REACHED=file` has each one that is asked about noted there, once.
//! `MUTANT_LIMITS=3` is what every limit of a batch, a page, a window is then.

use std::collections::HashSet;
use std::io::Write;
use std::sync::{LazyLock, Mutex};

static MUTANT: LazyLock<Option<u32>> = LazyLock::new(|| variable("MUTANT"));
static LIMITS: LazyLock<Option<u32>> = LazyLock::new(|| variable("MUTANT_LIMITS"));
static REACHED: LazyLock<Option<Mutex<Reached>>> = LazyLock::new(|| {
    let path = std::env::var_os("MUTANT_REACHED")?;
    let file = std::fs::File::options().create(true).append(true).open(path).expect("the file of the runner");
    Some(Mutex::new(Reached { file, known: HashSet::new() }))
});

struct Reached {
    file: std::fs::File,
    known: HashSet<u32>,
}

fn variable(name: &str) -> Option<u32> {
    std::env::var(name).ok()?.parse().ok()
}

pub fn on(mutant: u32) -> bool {
    if let Some(reached) = &*REACHED {
        let mut reached = reached.lock().expect("nobody panics with it");
        if reached.known.insert(mutant) {
            writeln!(reached.file, "{mutant}").expect("the file of the runner can be written");
        }
    }
    *MUTANT == Some(mutant)
}

/// A condition: two mutants, always true and never.
pub fn condition(mutant: u32, holds: bool) -> bool {
    !on(mutant + 1) && (on(mutant) || holds)
}

pub fn less<A: PartialOrd<B> + ?Sized, B: ?Sized>(mutant: u32, a: &A, b: &B) -> bool {
    if on(mutant) { a <= b } else { a < b }
}

pub fn at_most<A: PartialOrd<B> + ?Sized, B: ?Sized>(mutant: u32, a: &A, b: &B) -> bool {
    if on(mutant) { a < b } else { a <= b }
}

pub fn more<A: PartialOrd<B> + ?Sized, B: ?Sized>(mutant: u32, a: &A, b: &B) -> bool {
    if on(mutant) { a >= b } else { a > b }
}

pub fn at_least<A: PartialOrd<B> + ?Sized, B: ?Sized>(mutant: u32, a: &A, b: &B) -> bool {
    if on(mutant) { a > b } else { a >= b }
}

pub fn add<N: std::ops::Add<Output = N> + std::ops::Sub<Output = N>>(mutant: u32, a: N, b: N) -> N {
    if on(mutant) { a - b } else { a + b }
}

pub fn subtract<N: std::ops::Add<Output = N> + std::ops::Sub<Output = N>>(mutant: u32, a: N, b: N) -> N {
    if on(mutant) { a + b } else { a - b }
}

/// `a.min(b)` and `a.max(b)`: two mutants, one for each that is left.
pub fn least<T: Ord>(mutant: u32, a: T, b: T) -> T {
    if on(mutant) {
        a
    } else if on(mutant + 1) {
        b
    } else {
        a.min(b)
    }
}

pub fn greatest<T: Ord>(mutant: u32, a: T, b: T) -> T {
    if on(mutant) {
        a
    } else if on(mutant + 1) {
        b
    } else {
        a.max(b)
    }
}

/// An integer constant, at one place where it is used.
pub fn number<N: TryFrom<u32> + std::ops::Add<Output = N>>(mutant: u32, number: N) -> N {
    if on(mutant) { number + small(1) } else { number }
}

/// A constant that says how much is taken at a time, at one place where it is used.
pub fn limit<N: TryFrom<u32> + std::ops::Add<Output = N>>(mutant: u32, limit: N) -> N {
    match *LIMITS {
        Some(limits) => small(limits),
        None => number(mutant, limit),
    }
}

fn small<N: TryFrom<u32>>(number: u32) -> N {
    N::try_from(number).ok().expect("a small number")
}
