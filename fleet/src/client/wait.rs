//! Waiting for a fleet that does not answer: how long, and what is said meanwhile.

use std::time::{Duration, Instant};

use clap::Args;

use crate::commands::out;

/// What was begun is waited for so long at least: a fleet that restarts is back by then.
const BEGUN: Duration = Duration::from_secs(30);

/// However little is left: what is there could not answer in less.
const LEAST: Duration = Duration::from_millis(300);

/// From one try to the next.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a command waits for a fleet.
#[derive(Debug, Clone, Copy, Args)]
pub struct Wait {
    /// Seconds to wait for a fleet that does not answer or is not ready. What has begun, such as an import whose first lines are answered, waits at least 30.
    #[arg(global = true, long = "wait", env = "FLEET_WAIT", value_name = "SECONDS", default_value_t = 2)]
    pub(super) seconds: u64,
}

/// Time that runs out unless something happens.
#[derive(Debug, Clone)]
pub struct Patience {
    limit: Duration,
    since: Instant,
    said: bool,
}

impl Wait {
    /// As of what has begun.
    pub(super) fn begun(self) -> Self {
        Self { seconds: self.seconds.max(BEGUN.as_secs()) }
    }

    pub fn start(self) -> Patience {
        Patience { limit: Duration::from_secs(self.seconds), since: Instant::now(), said: false }
    }
}

impl Patience {
    /// Something happened: from now on, what has begun is waited for.
    pub fn renew(&mut self) {
        *self = Self { limit: self.limit.max(BEGUN), since: Instant::now(), said: false };
    }

    /// What is waited for begins now.
    pub fn again(&mut self) {
        (self.since, self.said) = (Instant::now(), false);
    }

    pub(super) fn is_over(&self) -> bool {
        self.since.elapsed() >= self.limit
    }

    /// An answer, unless it does not come for as long as it is waited for.
    pub async fn answer<T>(&self, answer: impl Future<Output = T>) -> Result<T, Silent> {
        self.answer_within(LEAST, answer).await
    }

    /// The same, so much longer.
    pub(super) async fn answer_within<T>(&self, more: Duration, answer: impl Future<Output = T>) -> Result<T, Silent> {
        let limit = self.limit.saturating_sub(self.since.elapsed()) + more;
        tokio::time::timeout(limit, answer).await.map_err(|_| Silent(self.since.elapsed()))
    }

    /// Waits a little, and says once why; `false` if the time has run out.
    pub async fn wait(&mut self, why: &str) -> bool {
        if self.is_over() {
            return false;
        }
        if !std::mem::replace(&mut self.said, true) {
            out::complain(format!("fleet: {why}; waiting for {} s", self.limit.as_secs()));
        }
        tokio::time::sleep(PAUSE).await;
        true
    }
}

/// Somebody listens, and says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it has said nothing for {}: it is stopped, or too busy; --wait waits longer", self.seconds())]
pub struct Silent(Duration);

impl Silent {
    /// For how long.
    pub(super) fn seconds(self) -> String {
        format!("{} s", self.0.as_secs_f32().round())
    }
}
