//! Publishing to a topic.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use google_cloud_pubsub::client::BasePublisher;
use google_cloud_pubsub::error::PublishError as ClientError;
use google_cloud_pubsub::model::Message as ClientMessage;
use google_cloud_pubsub::publisher::PublishFuture;
use tokio::time::{Instant, timeout_at};

use super::Google;
use crate::{Blame, Error, Message, PUBLISH_DEADLINE, PublishError, Publisher, limits};

#[derive(Debug)]
pub struct GooglePublisher {
    google: Google,
    topic: String,
}

impl GooglePublisher {
    pub(super) fn new(google: Google, topic: String) -> Self {
        Self { google, topic }
    }

    async fn send(&self, messages: Vec<Message>) -> Result<(), PublishError> {
        let deadline = Instant::now() + PUBLISH_DEADLINE;
        let none_confirmed = |source| PublishError { confirmed: 0, source };
        let base = match timeout_at(deadline, self.google.base_publisher()).await {
            Ok(base) => base.map_err(none_confirmed)?,
            Err(_) => return Err(none_confirmed(self.silence())),
        };

        // What is beyond the limits does not get as far as the service: the emulator would take some of it, and never
        // answer to the rest.
        let mut beyond = None;
        let mut in_flight = Vec::with_capacity(messages.len());
        for request in limits::requests(messages) {
            if let Err(refused) = limits::request(&request) {
                beyond = Some(self.beyond(&refused));
                break;
            }
            in_flight.extend(self.request(base, request));
        }
        let confirmed_if_all = in_flight.len();
        for (confirmed, answer) in in_flight.into_iter().enumerate() {
            let source = match timeout_at(deadline, answer).await {
                Ok(Ok(_message_id)) => continue,
                Ok(Err(error)) => self.refusal(&error),
                Err(_) => self.silence(),
            };
            return Err(PublishError { confirmed, source });
        }
        beyond.map_or(Ok(()), |source| Err(PublishError { confirmed: confirmed_if_all, source }))
    }

    /// Sends the messages as one request, so that a refusal is about these and no others. The client would gather them
    /// with whatever else it is given; one for each request, which is full with the last of these, does not.
    fn request(&self, base: &BasePublisher, messages: Vec<Message>) -> Vec<PublishFuture> {
        /// Only if this process hardly runs; a request is then sent in parts.
        const NEVER: Duration = Duration::from_secs(1);
        let count = u32::try_from(messages.len()).expect("a request has at most 1,000 messages");
        let bytes = u32::try_from(limits::REQUEST_BYTES).expect("10 MB");
        let client = base
            .publisher(&self.topic)
            .set_message_count_threshold(count)
            .set_byte_threshold(bytes)
            .set_delay_threshold(NEVER)
            .build();
        messages.into_iter().map(|message| client.publish(to_client(message))).collect()
    }

    fn refusal(&self, error: &ClientError) -> Error {
        match error {
            ClientError::Rpc(error) => self.google.refusal(self.doing(), error),
            error => self.google.failure(self.doing(), error),
        }
    }

    fn beyond(&self, refused: &limits::Refused) -> Error {
        Error { blames: Blame::Messages, ..self.google.failure(self.doing(), refused) }
    }

    fn silence(&self) -> Error {
        self.google.failure(self.doing(), format_args!("no answer within {PUBLISH_DEADLINE:?}"))
    }

    fn doing(&self) -> String {
        format!("publishing to {}", self.topic)
    }
}

impl Publisher for GooglePublisher {
    fn publish(&self, messages: Vec<Message>) -> BoxFuture<'_, Result<(), PublishError>> {
        self.send(messages).boxed()
    }
}

fn to_client(message: Message) -> ClientMessage {
    ClientMessage::new().set_data(message.data).set_attributes(message.attributes)
}
