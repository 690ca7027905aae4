//! Receiving from a subscription: several streams, reopened when they break, drained when they are to stop.

use std::pin::pin;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use google_cloud_pubsub::Error as ClientError;
use google_cloud_pubsub::client::Subscriber;
use google_cloud_pubsub::subscriber::ShutdownBehavior;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::stream::{End, read};
use super::{Google, status};
use crate::{Delivery, Error, Room, Subscription};

/// How long a lease lasts when this process dies; until then the client renews it.
const LEASE: Duration = Duration::from_secs(60);

/// The shortest one, for the emulator (seen in 0.8.20): it never lets go of a stream that has carried a message, and goes on
/// leasing messages to it when it is long closed. A restarted receiver gets its share of those when they expire.
const EMULATOR_LEASE: Duration = Duration::from_secs(10);

/// The gRPC codes that will not go away by trying again.
const REFUSALS: [&str; 6] =
    ["NOT_FOUND", "PERMISSION_DENIED", "UNAUTHENTICATED", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "UNIMPLEMENTED"];

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub struct GoogleSubscription {
    google: Google,
    path: String,
    streams: usize,
    max_outstanding: i64,
    room: Room,
}

impl GoogleSubscription {
    /// Bytes of unsettled messages, unless it is given a [`Room`].
    const MAX_BYTES: usize = 48 << 20;

    pub(super) fn new(google: Google, path: String, streams: usize, max_outstanding: i64) -> Self {
        Self { google, path, streams: streams.max(1), max_outstanding, room: Room::new(Self::MAX_BYTES) }
    }

    /// The room in which its unsettled messages must find place, all streams together. Others may fill it, too.
    #[must_use]
    pub fn within(self, room: Room) -> Self {
        Self { room, ..self }
    }

    async fn run(&self, deliveries: mpsc::Sender<Delivery>, stop: CancellationToken) -> Result<(), Error> {
        let stop = stop.child_token();
        let subscriber = tokio::select! {
            subscriber = self.google.subscriber() => subscriber?,
            () = stop.cancelled() => return Ok(()),
        };

        // Dropping the set, when the caller gives up on the drain or a stream fails, ends the streams; what they had
        // handed over remains under lease until it is settled.
        let mut streams = JoinSet::new();
        for _ in 0..self.streams {
            streams.spawn(self.clone().streams(subscriber.clone(), deliveries.clone(), stop.clone()));
        }
        streams.spawn(async move {
            tokio::select! {
                () = deliveries.closed() => stop.cancel(),
                () = stop.cancelled() => {}
            }
            Ok(())
        });
        while let Some(ended) = streams.join_next().await {
            ended.expect("the tasks are not aborted while this waits, and do not panic")?;
        }
        Ok(())
    }

    /// One stream after another, until `stop`; then waits until whatever came from any of them is settled.
    async fn streams(
        self,
        subscriber: Subscriber,
        deliveries: mpsc::Sender<Delivery>,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let drains = TaskTracker::new();
        let mut failures = 0;
        loop {
            let end = self.stream(&subscriber, &deliveries, &stop, &drains).await;
            if stop.is_cancelled() || deliveries.is_closed() {
                break;
            }
            failures = if end.received { 0 } else { failures };
            self.judge(end.error, failures)?;
            tokio::select! {
                () = tokio::time::sleep(pause(failures)) => failures += 1,
                () = stop.cancelled() => break,
            }
        }
        // The consumer sees the end of the channel as soon as nothing more will come, not when all is settled.
        drop(deliveries);
        drains.close();
        drains.wait().await;
        Ok(())
    }

    /// Of each stream.
    fn max_outstanding_bytes(&self) -> i64 {
        i64::try_from(self.room.bytes() / self.streams).unwrap_or(i64::MAX).max(1)
    }

    async fn stream(
        &self,
        subscriber: &Subscriber,
        deliveries: &mpsc::Sender<Delivery>,
        stop: &CancellationToken,
        drains: &TaskTracker,
    ) -> End {
        let stream = subscriber
            .subscribe(&self.path)
            .set_max_outstanding_messages(self.max_outstanding)
            // The service stops earlier than this process, which may share its room. An emulator need not know of it.
            .set_max_outstanding_bytes(self.max_outstanding_bytes())
            .set_max_lease_extension(if self.google.is_emulator() { EMULATOR_LEASE } else { LEASE })
            .set_shutdown_behavior(ShutdownBehavior::WaitForProcessing)
            .build();
        // Asks the stream to end, if it has not, and waits until its deliveries are settled and the acks are sent.
        let shutdown = stream.shutdown_token();
        let drain = async move { shutdown.shutdown().await };

        let mut reading = pin!(read(stream, &self.room, deliveries, stop));
        tokio::select! {
            end = &mut reading => {
                drains.spawn(drain);
                end
            }
            () = stop.cancelled() => {
                drains.spawn(drain);
                reading.await
            }
        }
    }

    /// Whether a stream that ended is worth another try. The client itself reopens a stream in silence when the service is
    /// unavailable, so little comes here: refusals, and errors that the client does not know.
    fn judge(&self, error: Option<ClientError>, failures: u32) -> Result<(), Error> {
        if let Some(error) = &error
            && status(error).is_some_and(|code| REFUSALS.contains(&code))
        {
            let doing = format_args!("receiving from {}", self.path);
            return Err(self.google.refusal(doing, error));
        }
        if failures == 0 {
            let error = error.as_ref().map(tracing::field::display);
            tracing::warn!(error, subscription = self.path, "a stream ended; reopening it");
        }
        Ok(())
    }
}

impl Subscription for GoogleSubscription {
    fn receive(&self, deliveries: mpsc::Sender<Delivery>, stop: CancellationToken) -> BoxFuture<'_, Result<(), Error>> {
        self.run(deliveries, stop).boxed()
    }
}

/// Doubling, with half of it by chance, lest all streams come back in the same instant.
fn pause(failures: u32) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE);
    longest.mul_f64(rand::random_range(0.5..1.0))
}
