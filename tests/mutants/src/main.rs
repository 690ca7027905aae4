//! Changes the code in a few hundred small ways, one at a time, and requires that a test notices each.
//!
//! A change that no test notices is a mutant that lives: a promise without a test, or code that does nothing. What lives
//! today, and why, is in docs/reliability.md.
//!
//! Building the fleet for each mutant would take a day. So all of them are built at once: each is a switch in a copy of the
//! tree (`target/mutants/tree`), off unless `MUTANT` names it. `code.rs` finds the places and writes the switches;
//! `sql.rs` changes statements, which a stand-in for sqlx (`switches/sqlx`) sends instead of the real ones.
//!
//! Then each test runs once, alone, and notes which switches it passes. A mutant is put before those tests only that pass
//! it, unit tests first, and is done with at the first that fails. One that makes a test hang is noticed, too.
//!
//! Not changed are: tests, patterns, what is in macros other than `query!`, metrics and logs, times. Of integer constants
//! (the limits of batches, pages, windows) each use is changed by one; and all tests run once with all of them at 3, so
//! that whatever comes after the end of a page is reached (`--limits 3`).
//!
//! ```sh
//! tests/mutants/run                                     # hours on two cores
//! tests/mutants/run workers/src/verdict.rs              # files, or folders
//! tests/mutants/run --tests faults::deliveries …        # judged by these tests of `tests/` only
//! tests/mutants/run --at-most 5 …                       # and only by those that take at most so many seconds (else 20)
//! tests/mutants/run --minutes 20 …                      # begins with no mutant after that
//! tests/mutants/run --sites                             # what would be changed
//! tests/mutants/run --limits 3                          # no mutants: every limit is 3, and all tests must pass
//! ```

mod code;
mod judge;
mod sql;
mod tests;
mod tree;

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use judge::{Fate, Judge};
use tests::Tests;
use tree::{Mutant, Tree};

/// What the promises rest on, in the order in which they are judged.
const FILES: [&str; 15] = [
    "workers/src/verdict.rs",
    "workers/src/apply",
    "workers/src/apply.rs",
    "workers/src/sweep",
    "event-store/src/append/decide.rs",
    "event-store/src/append/mod.rs",
    "event-store/src/relay",
    "event-store/src/read",
    "event-store/src/read.rs",
    "workers/src/redrive",
    "workers/src/dead_letters",
    "workers/src/resolve.rs",
    "event-store/src/append/heads.rs",
    "event-store/src/append/statements.rs",
    "event-store/src/append/writer.rs",
];

/// Mutants judged at a time.
const AT_ONCE: usize = 2;

struct Asked {
    files: Vec<String>,
    tests: Vec<String>,
    at_most: Duration,
    minutes: u64,
    limits: Option<u32>,
    sites: bool,
}

fn asked() -> Result<Asked> {
    let at_most = Duration::from_secs(20);
    let mut asked =
        Asked { files: Vec::new(), tests: Vec::new(), at_most, minutes: u64::MAX, limits: None, sites: false };
    let mut arguments = std::env::args().skip(1).peekable();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--sites" => asked.sites = true,
            "--limits" => asked.limits = Some(arguments.next().unwrap_or_default().parse()?),
            "--at-most" => asked.at_most = Duration::from_secs(arguments.next().unwrap_or_default().parse()?),
            "--minutes" => asked.minutes = arguments.next().unwrap_or_default().parse()?,
            "--tests" => asked.tests.extend(arguments.next()),
            other if other.starts_with('-') => bail!("{other} is unknown: see tests/mutants/src/main.rs"),
            file => asked.files.push(file.to_owned()),
        }
    }
    if asked.files.is_empty() {
        asked.files = FILES.map(ToOwned::to_owned).to_vec();
    }
    Ok(asked)
}

fn main() -> Result<()> {
    let asked = asked()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let mut tree = Tree::of(&root)?;
    let mut files = Vec::new();
    for path in &asked.files {
        files.extend(tree.sources(path)?);
    }
    let mutants = tree.switch(&files)?;
    if asked.sites {
        for mutant in &mutants {
            println!("{}:{} {}", mutant.file, mutant.line, mutant.what);
        }
        println!("{} mutants in {} files", mutants.len(), files.len());
        return Ok(());
    }
    tree.switch_statements()?;
    let folder = tree::folder(&root);
    tree.write(&folder)?;
    let mut tests = Tests::build(&folder, &asked.tests)?;
    if let Some(limits) = asked.limits {
        return tests.all_with_limits(limits);
    }
    tests.reach(asked.at_most)?;
    report(&mutants, &tests, &folder, asked.minutes)
}

fn report(mutants: &[Mutant], tests: &Tests, folder: &Path, minutes: u64) -> Result<()> {
    let started = Instant::now();
    let judge = Judge { tests, folder };
    let next = Mutex::new(mutants.iter());
    let fates = Mutex::new([0; 3]);
    std::thread::scope(|scope| {
        for judging in 0..AT_ONCE {
            let (judge, next, fates) = (&judge, &next, &fates);
            scope.spawn(move || {
                loop {
                    let mutant = next.lock().expect("nobody panics with it").next();
                    let Some(mutant) = mutant.filter(|_| started.elapsed().as_secs() / 60 < minutes) else { break };
                    let fate = judge.fate(mutant, judging);
                    let mut fates = fates.lock().expect("nobody panics with it");
                    let (index, said) = match fate {
                        Fate::Caught(by) => (0, by),
                        Fate::Lives => (1, "LIVES".to_owned()),
                        Fate::Unreached => (2, "LIVES: no test gets there".to_owned()),
                    };
                    fates[index] += 1;
                    println!("{}:{}  {}  {said}", mutant.file, mutant.line, mutant.what);
                }
            });
        }
    });
    let [caught, lives, unreached] = fates.into_inner().expect("nobody panics with it");
    let judged = caught + lives + unreached;
    println!(
        "{} mutants, {judged} judged in {} s: {caught} caught, {} live, {unreached} of them where no test gets",
        mutants.len(),
        started.elapsed().as_secs(),
        lives + unreached,
    );
    Ok(())
}
