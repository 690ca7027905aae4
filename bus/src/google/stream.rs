//! One stream of deliveries, from the client's types to ours.
//!
//! Never cancel the client's `next()`: the first call opens the stream, and the messages that the service has leased to a
//! half-open stream stay invisible until their ack deadline.

use chrono::DateTime;
use google_cloud_pubsub::Error as ClientError;
use google_cloud_pubsub::model::Message as ClientMessage;
use google_cloud_pubsub::subscriber::MessageStream;
use google_cloud_pubsub::subscriber::handler::Handler;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{Delivery, Message, Receipt, Settle};

/// How a stream ended: whether anything came from it, and why it ended if it was not asked to.
pub(super) struct End {
    pub(super) received: bool,
    pub(super) error: Option<ClientError>,
}

/// Forwards a stream until it ends. A delivery that cannot be handed over any more is dropped, which gives it back.
pub(super) async fn read(
    mut stream: MessageStream,
    deliveries: &mpsc::Sender<Delivery>,
    stop: &CancellationToken,
) -> End {
    let mut received = false;
    loop {
        let (message, handler) = match stream.next().await {
            Some(Ok(next)) => next,
            Some(Err(error)) => {
                return End { received, error: Some(error) };
            }
            None => {
                return End { received, error: None };
            }
        };
        received = true;
        tokio::select! {
            biased;
            () = stop.cancelled() => return End { received, error: None },
            sent = deliveries.send(delivery(message, handler)) => {
                if sent.is_err() {
                    return End { received, error: None };
                }
            }
        }
    }
}

fn delivery(message: ClientMessage, handler: Handler) -> Delivery {
    Delivery {
        message_id: message.message_id,
        published_at: message
            .publish_time
            .and_then(|at| DateTime::from_timestamp(at.seconds(), u32::try_from(at.nanos()).unwrap_or(0))),
        attempt: handler.delivery_attempt().and_then(|attempt| u32::try_from(attempt).ok()),
        message: Message { data: message.data, attributes: message.attributes.into_iter().collect() },
        receipt: Receipt::new(Lease(handler)),
    }
}

/// The client's handle, which flushes answers every 100 ms.
struct Lease(Handler);

impl Settle for Lease {
    fn ack(self: Box<Self>) {
        self.0.ack();
    }

    fn nack(self: Box<Self>) {
        self.0.nack();
    }
}
