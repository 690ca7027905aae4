//! Parts that run side by side: each begins, all wait for the first end, and the others are given time.

use std::fmt::Display;
use std::time::Duration;

use database::Endpoint;
use database::pooler::Refusal;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use workers::part::{Ended, part};

/// How long parts may take to end after `stop`. Cloud Run kills after 10 s.
const DRAIN: Duration = Duration::from_secs(8);

/// Parts that have begun.
pub type Running = JoinSet<Result<(), Ended>>;

/// Adds a part, which must not end before `stop`: its end is an error that names it.
pub fn spawn<E: Display + 'static>(
    parts: &mut Running,
    name: impl Into<String> + Send + 'static,
    stop: &CancellationToken,
    work: impl Future<Output = Result<(), E>> + Send + 'static,
) {
    parts.spawn(part(name, stop.clone(), work));
}

/// Runs the parts until `stop` or until one of them fails, then lets the others end.
///
/// # Errors
/// The first part that failed.
pub async fn wait(mut parts: Running, stop: CancellationToken) -> Result<(), Ended> {
    let mut result = Ok(());
    tokio::select! {
        () = stop.cancelled() => {}
        Some(ended) = parts.join_next() => result = said(ended),
    }
    stop.cancel();
    let drained = async {
        while let Some(ended) = parts.join_next().await {
            if result.is_ok() {
                result = said(ended);
            }
        }
    };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("some parts did not end in time; what they had in hand is rolled back and comes again");
    }
    result
}

/// A part catches its own panics.
fn said(ended: Result<Result<(), Ended>, JoinError>) -> Result<(), Ended> {
    ended.unwrap_or_else(|error| Err(Ended::Failed { part: "a part".to_owned(), reason: error.to_string() }))
}

/// Ends the parts if a pooler stands before the database with which they could not work, by an error now or, if the database
/// is away, when it has come back.
pub async fn refuse_pooler(
    endpoint: &Endpoint,
    connections: u32,
    parts: &mut Running,
    stop: &CancellationToken,
) -> Result<(), Refusal> {
    const AGAIN: Duration = Duration::from_secs(1);
    let connections = connections as usize;
    if let Ok(looked) = endpoint.refuse_pooler(connections).await {
        return looked;
    }
    let (endpoint, stopped) = (endpoint.clone(), stop.clone());
    spawn(parts, "looking for a pooler", stop, async move {
        let looking = async {
            loop {
                tokio::time::sleep(AGAIN).await;
                // Why it is away, the watch says.
                if let Ok(looked) = endpoint.refuse_pooler(connections).await {
                    break looked;
                }
            }
        };
        let looked = stopped.run_until_cancelled(looking).await.unwrap_or(Ok(()));
        if looked.is_ok() {
            // A part that ends would end the process.
            stopped.cancelled().await;
        }
        looked
    });
    Ok(())
}
