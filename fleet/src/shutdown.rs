//! The end: SIGTERM and Ctrl-C become a token that everything long-lived watches.

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal as listen};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled at the first signal. A second one ends the process where it stands, which is safe: what is
/// not committed is rolled back, what is not acknowledged comes again.
pub fn signal() -> Result<CancellationToken> {
    let mut terminate = listen(SignalKind::terminate()).context("listening to SIGTERM")?;
    let mut interrupt = listen(SignalKind::interrupt()).context("listening to SIGINT")?;
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stop.is_cancelled() {
                std::process::exit(130);
            }
            tracing::info!("told to end: what is in hand is finished");
            stop.cancel();
        }
    });
    Ok(token)
}
