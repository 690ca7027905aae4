//! The end: SIGTERM and Ctrl-C become a token that everything long-lived watches.

use std::io;
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result};
use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal as listen};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled at the first signal. A second one ends the process where it stands, which is safe: what is
/// not committed is rolled back, what is not acknowledged comes again.
///
/// It has a thread of its own: code that does not come back would keep the others from hearing of it.
pub fn signal() -> Result<CancellationToken> {
    let token = CancellationToken::new();
    let (listening, begun) = mpsc::sync_channel(1);
    let stop = token.clone();
    let hearing = move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let heard = runtime.and_then(|runtime| {
            let signals = runtime.block_on(async { signals() })?;
            Ok((runtime, signals))
        });
        match heard {
            Ok((runtime, signals)) => {
                let _ = listening.send(Ok(()));
                runtime.block_on(hear(signals, &stop));
            }
            Err(error) => {
                let _ = listening.send(Err(error));
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(hearing).context("starting to listen to signals")?;
    begun.recv().context("starting to listen to signals")?.context("listening to SIGTERM and SIGINT")?;
    Ok(token)
}

fn signals() -> io::Result<[Signal; 2]> {
    Ok([listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?])
}

async fn hear([mut terminate, mut interrupt]: [Signal; 2], stop: &CancellationToken) {
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
}
