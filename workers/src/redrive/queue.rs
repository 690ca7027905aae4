//! Operations side by side, each at its own pace, within one task.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::POLL;
use super::turns::Turns;
use crate::retry;

/// Operations at work at the same time. Those that rest for their rate do not count.
const SIDE_BY_SIDE: usize = 4;

/// Failures of an operation between two warnings.
const REMIND: u32 = 15;

/// The shortest rest that ends a turn.
const REST: Duration = Duration::from_millis(25);

/// The longest turn, if others wait for theirs.
const TURN: Duration = Duration::from_secs(1);

/// Decisions that are to be made true.
pub(super) trait Queue: Sync {
    type Error: Display + From<sqlx::Error> + Send;

    /// The operations that have something to do.
    fn open(&self) -> impl Future<Output = Result<Vec<Uuid>, Self::Error>> + Send;

    /// Does some of what one of them has to do. Returns how long it must rest then.
    fn turn(
        &self,
        operation: Uuid,
        stop: &CancellationToken,
    ) -> impl Future<Output = Result<Duration, Self::Error>> + Send;
}

/// How far a turn has come.
pub(super) struct Pace {
    began: Instant,
    owed: Duration,
}

impl Pace {
    pub fn begin() -> Self {
        Self { began: Instant::now(), owed: Duration::ZERO }
    }

    /// So many events were applied. Whether the turn is over.
    pub fn is_over(&mut self, events: u64, rate: Option<f64>) -> bool {
        let owed = rate.and_then(|rate| Duration::try_from_secs_f64(events as f64 / rate).ok());
        self.owed = self.owed.saturating_add(owed.unwrap_or_default());
        self.rest() >= REST || self.began.elapsed() >= TURN
    }

    pub fn rest(&self) -> Duration {
        self.owed.saturating_sub(self.began.elapsed())
    }
}

enum Done<E> {
    Looked(Result<Vec<Uuid>, E>),
    Took(Uuid, Result<Duration, E>),
}

/// Works until stopped.
pub(super) async fn run<Q: Queue>(doing: &str, queue: &Q, stop: &CancellationToken) {
    let mut turns = Turns::default();
    let mut under_way = FuturesUnordered::new();
    let mut failures = 0;
    under_way.push(look(doing, queue, Duration::ZERO));
    while !stop.is_cancelled() {
        while turns.busy() < SIDE_BY_SIDE
            && let Some(operation) = turns.next(Instant::now())
        {
            let turn = database::with_deadline(doing, queue.turn(operation, stop));
            under_way.push(turn.map(move |took| Done::Took(operation, took)).boxed());
        }
        let rest = if turns.busy() < SIDE_BY_SIDE { turns.rest(Instant::now(), POLL) } else { POLL };
        let done = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(done) = under_way.next() => done,
            () = tokio::time::sleep(rest) => continue,
        };
        match done {
            Done::Looked(Ok(open)) => {
                failures = 0;
                turns.open(&open, Instant::now());
                under_way.push(look(doing, queue, POLL));
            }
            Done::Looked(Err(error)) => {
                warn(doing, error.to_string(), failures).await;
                under_way.push(look(doing, queue, retry::backoff(failures, rand::random())));
                failures += 1;
            }
            Done::Took(operation, Ok(rest)) => turns.took(operation, Instant::now() + rest.min(MOST)),
            Done::Took(operation, Err(error)) => {
                let again = |failures| Instant::now() + retry::backoff(failures, rand::random());
                let failures = turns.failed(operation, again);
                warn(doing, error.to_string(), failures.saturating_sub(1)).await;
            }
        }
    }
    // A turn that is under way ends with its step; a look ends here.
    while turns.busy() > 0 {
        match under_way.next().await {
            Some(Done::Took(operation, _)) => turns.took(operation, Instant::now()),
            Some(Done::Looked(_)) => {}
            None => break,
        }
    }
}

/// An `Instant` has an end, and a rate may be as small as one likes.
const MOST: Duration = Duration::from_secs(24 * 60 * 60);

fn look<'a, Q: Queue>(doing: &'a str, queue: &'a Q, after: Duration) -> BoxFuture<'a, Done<Q::Error>> {
    let looking = move |()| database::with_deadline(doing, queue.open());
    tokio::time::sleep(after).then(looking).map(Done::Looked).boxed()
}

/// What passes at once is not worth a line, nor what the watch of the database has told of.
async fn warn(doing: &str, error: String, failures: u32) {
    if failures % REMIND == retry::TELLING && !database::is_found_away().await {
        tracing::warn!(doing, error, attempt = failures, "failed; trying again until it succeeds, others go on");
    } else {
        tracing::debug!(doing, error, attempt = failures, "failed again");
    }
}
