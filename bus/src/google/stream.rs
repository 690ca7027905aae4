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

use crate::{Delivery, Message, Receipt, Room, Settle, Taken};

/// How a stream ended: whether anything came from it, and why it ended if it was not asked to.
pub(super) struct End {
    pub(super) received: bool,
    pub(super) error: Option<ClientError>,
}

/// Forwards a stream until it ends. A delivery that cannot be handed over any more is dropped, which gives it back.
pub(super) async fn read(
    mut stream: MessageStream,
    room: &Room,
    deliveries: &mpsc::Sender<Delivery>,
    stop: &CancellationToken,
) -> End {
    let mut received = false;
    loop {
        // Not cancelled while it waits here: the stream stands still, and the service hears of it.
        if stop.run_until_cancelled(room.opened()).await.is_none() {
            return End { received, error: None };
        }
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
            sent = deliveries.send(delivery(room, message, handler)) => {
                if sent.is_err() {
                    return End { received, error: None };
                }
            }
        }
    }
}

fn delivery(room: &Room, message: ClientMessage, handler: Handler) -> Delivery {
    let taken = room.take(message.data.len());
    Delivery {
        message_id: message.message_id,
        published_at: message
            .publish_time
            .and_then(|at| DateTime::from_timestamp(at.seconds(), u32::try_from(at.nanos()).unwrap_or(0))),
        attempt: handler.delivery_attempt().and_then(|attempt| u32::try_from(attempt).ok()),
        message: Message { data: message.data, attributes: message.attributes.into_iter().collect() },
        receipt: Receipt::new(Lease(handler, taken)),
    }
}

/// The client's handle, which flushes answers every 100 ms, and the room that the message takes until then.
struct Lease(Handler, #[expect(dead_code, reason = "it is held, not read")] Taken);

impl Settle for Lease {
    fn ack(self: Box<Self>) {
        self.0.ack();
    }

    fn nack(self: Box<Self>) {
        self.0.nack();
    }
}
