//! Whether to try again, and when. Deciding is pure; [`until_done`] is the loop around it.

use std::fmt::Display;
use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use database::is_found_away;
use prometheus::IntCounter;
use rand::Rng;
use tokio_util::sync::CancellationToken;

/// Tries between two warnings about the same failure: about a minute.
const REMIND: u32 = 15;

/// The try whose failure is the first to be warned of. What passes at once, such as a connection that was cut, is not worth
/// a line of each part; and of a database that is away the watch warns, once for all of them.
pub(crate) const TELLING: u32 = 3;

/// Of this process: who tries again is too deep in it to be handed the metrics of a registry.
pub(crate) static FAILED_TRIES: LazyLock<IntCounter> = LazyLock::new(|| {
    let help =
        "Tries that failed of work that is tried until it succeeds. A few are normal when the database changes over.";
    IntCounter::new("worker_failed_tries_total", help).expect("the name is valid")
});

/// The wait before try number `attempt` (from 0): doubling from 50 ms to 5 s, the upper half of it at random, so that
/// workers that failed together do not come back together.
pub fn backoff(attempt: u32, random: f64) -> Duration {
    let ceiling = Duration::from_millis(50 * 2_u64.pow(attempt.min(7))).min(Duration::from_secs(5));
    ceiling.mul_f64(0.5 + random / 2.0)
}

/// Runs `work` until it succeeds or `stop` is cancelled; `None` if stopped. Whatever it fails with is taken to be
/// transient: Postgres is away, and while it is, this caller takes nothing new and burns no delivery attempt. Each try has
/// [a deadline](database::with_deadline), which a change of the primary ends as well.
pub async fn until_done<T, E: Display + From<sqlx::Error>, F>(
    doing: &str,
    stop: &CancellationToken,
    mut work: impl FnMut() -> F,
) -> Option<T>
where
    F: Future<Output = Result<T, E>>,
{
    until_all_done(doing, stop, || database::with_deadline(doing, work())).await
}

/// [`until_done`] of work that has many steps, each of which has a deadline of its own.
pub async fn until_all_done<T, E: Display, F>(
    doing: &str,
    stop: &CancellationToken,
    mut work: impl FnMut() -> F,
) -> Option<T>
where
    F: Future<Output = Result<T, E>>,
{
    let mut attempt = 0;
    let mut warned = false;
    loop {
        let tried = work().await;
        if tried.is_err() {
            FAILED_TRIES.inc();
        }
        match tried {
            Ok(done) => {
                if warned {
                    tracing::info!(doing, attempts = attempt + 1, "succeeded again");
                }
                return Some(done);
            }
            Err(error) if attempt % REMIND == TELLING && !is_found_away().await => {
                warned = true;
                tracing::warn!(doing, %error, attempt, "failed; trying again until it succeeds");
            }
            Err(error) => tracing::debug!(doing, %error, attempt, "failed again"),
        }
        let wait = backoff(attempt, rand::rng().random());
        attempt += 1;
        stop.run_until_cancelled(tokio::time::sleep(wait)).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_to_its_ceiling_and_no_further() {
        assert_eq!(backoff(0, 0.0), Duration::from_millis(25));
        assert_eq!(backoff(0, 1.0), Duration::from_millis(50));
        assert_eq!(backoff(3, 1.0), Duration::from_millis(400));
        assert_eq!(backoff(40, 1.0), Duration::from_secs(5));
    }
}
