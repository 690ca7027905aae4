//! Publishing to a topic.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use google_cloud_pubsub::client::Publisher as Client;
use google_cloud_pubsub::error::PublishError as ClientError;
use google_cloud_pubsub::model::Message as ClientMessage;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};

use super::Google;
use crate::{Error, Message, PublishError, Publisher};

/// The most messages and bytes of one request: the service takes 1,000 and 10 MB, the latter with its envelope.
const REQUEST_MESSAGES: u32 = 1_000;
const REQUEST_BYTES: u32 = 5_000_000;

/// How long a page that does not fill a request waits for company.
const REQUEST_DELAY: Duration = Duration::from_millis(5);

/// How long a page may take, retries of the client included. By itself the client would retry for 10 minutes, and the
/// relay would look merely slow all that time.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub struct GooglePublisher {
    google: Google,
    topic: String,
    client: OnceCell<Client>,
}

impl GooglePublisher {
    pub(super) fn new(google: Google, topic: String) -> Self {
        Self { google, topic, client: OnceCell::new() }
    }

    async fn client(&self) -> Result<&Client, Error> {
        let open = async || {
            let base = self.google.base_publisher().await?;
            Ok(base
                .publisher(&self.topic)
                .set_message_count_threshold(REQUEST_MESSAGES)
                .set_byte_threshold(REQUEST_BYTES)
                .set_delay_threshold(REQUEST_DELAY)
                .build())
        };
        self.client.get_or_try_init(open).await
    }

    async fn send(&self, messages: Vec<Message>) -> Result<(), PublishError> {
        let deadline = Instant::now() + PATIENCE;
        let none_confirmed = |source| PublishError { confirmed: 0, source };
        let client = match timeout_at(deadline, self.client()).await {
            Ok(client) => client.map_err(none_confirmed)?,
            Err(_) => return Err(none_confirmed(self.silence())),
        };

        let in_flight: Vec<_> = messages.into_iter().map(|message| client.publish(to_client(message))).collect();
        for (confirmed, answer) in in_flight.into_iter().enumerate() {
            let source = match timeout_at(deadline, answer).await {
                Ok(Ok(_message_id)) => continue,
                Ok(Err(error)) => self.refusal(&error),
                Err(_) => self.silence(),
            };
            return Err(PublishError { confirmed, source });
        }
        Ok(())
    }

    fn refusal(&self, error: &ClientError) -> Error {
        match error {
            ClientError::Rpc(error) => self.google.refusal(self.doing(), error),
            error => self.google.failure(self.doing(), error),
        }
    }

    fn silence(&self) -> Error {
        self.google.failure(self.doing(), format_args!("no answer within {PATIENCE:?}"))
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
