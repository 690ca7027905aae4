//! The tests that judge: built once, each run once to learn what it passes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// Those of `tests/` that take long, judge something else than code, or are in the hands of chance.
const NOT: [&str; 16] = [
    "artifacts",
    "clean_end",
    "corpus",
    "deploy",
    "dev",
    "import_export",
    "migrations",
    "observability",
    "outage",
    "plans",
    "poolers",
    "push",
    "restore",
    "sample",
    "soak",
    "terraform",
];

/// Tests within the test binary that start servers of their own or whole fleets for long.
const NOT_EITHER: [&str; 8] = [
    "backlog",
    "connections::",
    "killed_at_any_point",
    "killed_five_times",
    "killed_twenty",
    "model::",
    "primary::",
    "standby",
];

pub struct Test {
    pub name: String,
    pub binary: PathBuf,
    /// Without any mutant.
    pub took: Duration,
    /// Numbers of switches, and statements as they are written in Rust.
    reached: BTreeSet<String>,
}

pub struct Tests {
    pub all: Vec<Test>,
    folder: PathBuf,
}

impl Tests {
    /// Builds the copy, and names the tests of `tests/` that contain one of `wanted`, all if there is none, and all unit tests
    /// of the crates that have switches.
    pub fn build(folder: &Path, wanted: &[String]) -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
        let built = Command::new(cargo)
            .args(["test", "--offline", "--no-run", "--message-format=json-render-diagnostics", "--quiet"])
            .args([
                "--package=fleet-event-store",
                "--package=fleet-workers",
                "--package=projections",
                "--lib",
                "--test=fleet",
            ])
            .current_dir(folder)
            .env("CARGO_TARGET_DIR", folder.with_file_name("target"))
            .env("RUSTFLAGS", "--allow=warnings")
            .stderr(Stdio::inherit())
            .output()?;
        ensure!(built.status.success(), "the copy with switches does not compile");
        let mut all = Vec::new();
        for line in String::from_utf8(built.stdout)?.lines() {
            let message: serde_json::Value = serde_json::from_str(line)?;
            let (Some(binary), Some(target)) = (message["executable"].as_str(), message["target"]["name"].as_str())
            else {
                continue;
            };
            if message["profile"]["test"] != true {
                continue;
            }
            let listed = Command::new(binary).args(["--list", "--format=terse"]).output()?;
            for name in String::from_utf8(listed.stdout)?.lines().filter_map(|line| line.strip_suffix(": test")) {
                let whole = target == "fleet" && message["target"]["kind"][0] == "test";
                let judges = if whole {
                    !NOT.iter().any(|not| name.starts_with(&format!("{not}::")))
                        && !NOT_EITHER.iter().any(|not| name.contains(not))
                        && (wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())))
                } else {
                    target != "projections"
                };
                if judges {
                    all.push(Test {
                        name: name.to_owned(),
                        binary: binary.into(),
                        took: Duration::ZERO,
                        reached: BTreeSet::new(),
                    });
                }
            }
        }
        ensure!(!all.is_empty(), "there is no test");
        Ok(Self { all, folder: folder.to_owned() })
    }

    /// Runs each test without any mutant. One that fails cannot tell, and one that takes longer than `at_most` is not asked.
    pub fn reach(&mut self, at_most: Duration) -> Result<()> {
        let started = Instant::now();
        let folder = &self.folder;
        let next = Mutex::new(self.all.iter_mut());
        let failed = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for number in 0..super::AT_ONCE {
                let (next, failed) = (&next, &failed);
                scope.spawn(move || {
                    loop {
                        let test = next.lock().expect("nobody panics with it").next();
                        let Some(test) = test else { break };
                        if let Err(error) = test.reach(&folder.with_file_name(format!("reached-{number}"))) {
                            failed.lock().expect("nobody panics with it").push(error.to_string());
                        }
                    }
                });
            }
        });
        for failure in failed.into_inner().expect("nobody panics with it") {
            eprintln!("it fails without any mutant, and does not judge: {failure}");
        }
        self.all.retain(|test| test.took > Duration::ZERO);
        eprintln!("{} tests pass without any mutant, in {} s", self.all.len(), started.elapsed().as_secs());
        self.all.retain(|test| test.took <= at_most);
        eprintln!("{} of them judge", self.all.len());
        ensure!(!self.all.is_empty(), "there is nobody to judge");
        Ok(())
    }

    /// The tests that pass a switch, or send a statement, by their binary: the quick ones first.
    pub fn reaching(&self, what: &str) -> Vec<(&Path, Vec<&Test>)> {
        let mut binaries: BTreeMap<&Path, Vec<&Test>> = BTreeMap::new();
        for test in self.all.iter().filter(|test| test.reached.contains(what)) {
            binaries.entry(&test.binary).or_default().push(test);
        }
        let mut binaries: Vec<_> = binaries.into_iter().collect();
        let took = |tests: &[&Test]| tests.iter().map(|test| test.took).sum::<Duration>();
        binaries.sort_by_key(|(_, tests)| took(tests));
        for (_, tests) in &mut binaries {
            tests.sort_by_key(|test| test.took);
        }
        binaries
    }

    /// Every limit is `limits`: all tests must pass.
    pub fn all_with_limits(&self, limits: u32) -> Result<()> {
        let mut failed = 0;
        for test in &self.all {
            let run = test.command().env("MUTANT_LIMITS", limits.to_string()).output()?;
            if !run.status.success() {
                failed += 1;
                println!("{}\n{}", test.name, tail(&run.stdout));
            }
        }
        ensure!(failed == 0, "{failed} of {} tests fail if every limit is {limits}", self.all.len());
        println!("{} tests pass if every limit is {limits}", self.all.len());
        Ok(())
    }
}

impl Test {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        // Where cargo runs it.
        command.args([&self.name, "--exact"]).current_dir(package(&self.binary)).stdin(Stdio::null());
        command
    }

    fn reach(&mut self, file: &Path) -> Result<()> {
        let _none = fs::remove_file(file);
        let started = Instant::now();
        let run = self.command().env("MUTANT_REACHED", file).output()?;
        ensure!(run.status.success(), "{}\n{}", self.name, tail(&run.stdout));
        self.took = started.elapsed();
        let reached = fs::read_to_string(file).unwrap_or_default();
        self.reached = reached.lines().map(ToOwned::to_owned).collect();
        Ok(())
    }
}

/// The folder of any package of the copy, in which its tests run: they find what they need from there.
pub fn package(binary: &Path) -> PathBuf {
    let target = binary.ancestors().nth(3).expect("target/debug/deps");
    target.with_file_name("tree").join("projections")
}

fn tail(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

/// A file's place, as an error's context.
pub fn at(path: &Path) -> impl Fn() -> String {
    move || path.display().to_string()
}

pub fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(at(path))
}
