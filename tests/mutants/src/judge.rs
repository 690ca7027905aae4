//! One mutant before the tests that pass it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::tests::{self, Test, Tests};
use crate::tree::{Mutant, Switch};

/// What a test may take longer than without a mutant before it counts as hanging.
const SLACK: Duration = Duration::from_secs(30);

pub enum Fate {
    /// By this test.
    Caught(String),
    Lives,
    /// No test passes it.
    Unreached,
}

pub struct Judge<'a> {
    pub tests: &'a Tests,
    pub folder: &'a Path,
}

impl Judge<'_> {
    /// `number` tells those apart that judge at the same time.
    pub fn fate(&self, mutant: &Mutant, number: usize) -> Fate {
        let (reached, name, value) = match &mutant.switch {
            Switch::Code(id) => (id.to_string(), "MUTANT", id.to_string()),
            Switch::Sql { statement, instead } => {
                let file = self.folder.with_file_name(format!("statement-{number}"));
                tests::write(&file, &format!("{statement}\n--- instead ---\n{instead}"))
                    .expect("the folder can be written");
                (format!("{statement:?}"), "MUTANT_SQL", file.display().to_string())
            }
        };
        let binaries = self.tests.reaching(&reached);
        if binaries.is_empty() {
            return Fate::Unreached;
        }
        for (binary, tests) in binaries {
            if let Some(by) = first_failure(binary, &tests, (name, &value)) {
                return Fate::Caught(by);
            }
        }
        Fate::Lives
    }
}

/// Runs these tests of one binary until one fails, or takes too long.
fn first_failure(binary: &Path, tests: &[&Test], (name, value): (&str, &str)) -> Option<String> {
    let limit = tests.iter().map(|test| test.took).sum::<Duration>() + SLACK;
    let mut child = Command::new(binary)
        .args(tests.iter().map(|test| &test.name))
        .args(["--exact", "--test-threads=3"])
        .env(name, value)
        .current_dir(tests::package(binary))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a test binary that ran before");
    let (sender, lines) = mpsc::channel();
    let output = child.stdout.take().expect("piped");
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let started = Instant::now();
    loop {
        match lines.recv_timeout(limit.saturating_sub(started.elapsed())) {
            Ok(line) => {
                if let Some(name) = line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED")) {
                    end(&mut child);
                    return Some(name.to_owned());
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                end(&mut child);
                return Some(format!("waiting: {} of its tests are not done after {} s", tests.len(), limit.as_secs()));
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let passed = child.wait().is_ok_and(|status| status.success());
                return (!passed).then(|| "the end of the test process".to_owned());
            }
        }
    }
}

/// The servers of a test process end with it.
fn end(child: &mut Child) {
    let _ended = child.kill();
    let _status = child.wait();
}
