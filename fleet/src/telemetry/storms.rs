//! A line that one place of the code writes again and again is written a few times and then counted: an outage must not bury
//! what else is said. What was left out is said once a minute.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{IntCounterVec, Opts};
use tracing::{Level, Metadata, callsite};

/// Lines of one place in one window that are written.
const WRITTEN: u32 = 30;

const WINDOW: Duration = Duration::from_secs(60);

/// How often is looked whether something was left out.
const LOOK: Duration = Duration::from_secs(5);

static LINES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Lines of the log, by level: those written, and those left out because their place had written many that minute.";
    let lines =
        IntCounterVec::new(Opts::new("log_lines_total", help), &["level", "result"]).expect("the name is valid");
    for level in ["error", "warn", "info"] {
        for result in ["written", "left_out"] {
            lines.with_label_values(&[level, result]);
        }
    }
    lines
});

/// The metric that says how much is logged.
pub fn lines() -> &'static IntCounterVec {
    &LINES
}

/// Who writes how much.
#[derive(Debug, Default)]
pub(super) struct Storms(Mutex<HashMap<callsite::Identifier, Window>>);

#[derive(Debug)]
struct Window {
    since: Instant,
    written: u32,
    left_out: u64,
    place: String,
}

impl Storms {
    /// Whether an event is to be written.
    pub fn admits(&self, metadata: &Metadata<'_>) -> bool {
        let level = match *metadata.level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            // Whoever asked for these wants them all.
            Level::DEBUG | Level::TRACE => return true,
        };
        let admitted = self.admits_at(metadata.callsite(), || place(metadata), Instant::now());
        LINES.with_label_values(&[level, if admitted { "written" } else { "left_out" }]).inc();
        admitted
    }

    fn admits_at(&self, of: callsite::Identifier, place: impl FnOnce() -> String, now: Instant) -> bool {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Window { since: now, written: 0, left_out: 0, place: place() };
        let window = windows.entry(of).or_insert_with(new);
        // What was left out is told first; if nobody is there to tell it, the place must not be silent for ever.
        let patience = if window.left_out == 0 { WINDOW } else { 2 * WINDOW };
        if now.duration_since(window.since) >= patience {
            (window.since, window.written) = (now, 0);
        }
        if window.written < WRITTEN {
            window.written += 1;
            return true;
        }
        window.left_out += 1;
        false
    }

    /// What was left out in windows that are over: how often, and where. They begin anew.
    fn left_out(&self, now: Instant) -> Vec<(u64, String)> {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = windows.values_mut().filter(|it| it.left_out > 0 && now.duration_since(it.since) >= WINDOW);
        over.map(|window| {
            (window.since, window.written) = (now, 0);
            (std::mem::take(&mut window.left_out), window.place.clone())
        })
        .collect()
    }

    /// For as long as somebody logs, in a thread of its own: it must not wait for a runtime that is busy failing.
    pub fn tell_again_and_again(storms: &Arc<Self>) {
        let storms = Arc::downgrade(storms);
        let telling = std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            while let Some(storms) = storms.upgrade() {
                for (lines, place) in storms.left_out(Instant::now()) {
                    tracing::warn!(lines, place, "lines like those before were left out, because they were too many");
                }
                drop(storms);
                std::thread::sleep(LOOK);
            }
        });
        if let Err(error) = telling {
            tracing::warn!(%error, "nobody says which lines are left out of the log");
        }
    }
}

fn place(metadata: &Metadata<'_>) -> String {
    match (metadata.file(), metadata.line()) {
        (Some(file), Some(line)) => format!("{file}:{line}"),
        _ => metadata.target().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tracing::Callsite;

    use super::*;

    #[test]
    fn what_is_said_too_often_is_counted_and_told_once_the_minute_is_over() {
        let storms = Storms::default();
        let start = Instant::now();
        let one = tracing::callsite! { name: "one", kind: tracing::metadata::Kind::EVENT, fields: };
        let other = tracing::callsite! { name: "other", kind: tracing::metadata::Kind::EVENT, fields: };
        let say = |it: &dyn Callsite, at| {
            storms.admits_at(
                it.metadata().callsite(),
                || it.metadata().name().to_owned(),
                start + Duration::from_secs(at),
            )
        };
        let written = (0..1000).filter(|_| say(one, 0)).count();
        assert_eq!(written, WRITTEN as usize);
        assert!(say(other, 0), "another place is not meant");
        assert_eq!(storms.left_out(start + Duration::from_secs(59)), []);
        assert!(!say(one, 59), "the minute is not over");
        assert_eq!(storms.left_out(start + WINDOW), [(1000 - u64::from(WRITTEN) + 1, "one".to_owned())]);
        assert!(say(one, 61), "a new one begins");
        assert_eq!(storms.left_out(start + 3 * WINDOW), [], "it is told once");
        assert_eq!((0..100).filter(|_| say(one, 300)).count(), WRITTEN as usize);
        assert!(
            say(one, 300 + 2 * WINDOW.as_secs()),
            "nobody has told what was left out, and it is written again all the same"
        );
    }
}
