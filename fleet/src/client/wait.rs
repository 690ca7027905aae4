//! Waiting for a fleet that restarts.

use std::time::{Duration, Instant};

use clap::Args;

/// How long a command waits for a fleet.
#[derive(Debug, Clone, Copy, Args)]
pub struct Wait {
    /// Seconds to wait for a fleet that does not answer, such as one that restarts.
    #[arg(long = "wait", value_name = "SECONDS", default_value_t = 30)]
    pub(super) seconds: u64,
}

/// Time that runs out unless something happens.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    limit: Duration,
    since: Instant,
}

impl Wait {
    pub fn start(self) -> Patience {
        Patience { limit: Duration::from_secs(self.seconds), since: Instant::now() }
    }
}

impl Patience {
    /// Something happened.
    pub fn renew(&mut self) {
        self.since = Instant::now();
    }

    /// Waits a little; `false` if the time has run out.
    pub async fn wait(&self) -> bool {
        if self.since.elapsed() >= self.limit {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        true
    }
}
