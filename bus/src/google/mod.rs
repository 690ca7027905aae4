//! Google Pub/Sub, the real one or its emulator, over Google's own client.
//!
//! Nothing connects before the first use, so [`Google`] and what it hands out are made without waiting and without errors.

mod admin;
mod publisher;
mod stream;
mod subscription;

use std::fmt::Display;
use std::sync::Arc;

use google_cloud_auth::credentials::anonymous;
use google_cloud_gax::retry_policy::RetryPolicyExt;
use google_cloud_pubsub::client::{BasePublisher, Subscriber, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::retry_policy::RetryableErrors;
use tokio::sync::OnceCell;

pub use publisher::GooglePublisher;
pub use subscription::GoogleSubscription;

use crate::{Blame, Error, PUBLISH_DEADLINE};

/// One project at one endpoint. Clones share connections.
#[derive(Debug, Clone)]
pub struct Google(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    project: String,
    /// The emulator's; `None` is the real service.
    endpoint: Option<String>,
    publisher: OnceCell<BasePublisher>,
    topics: OnceCell<TopicAdmin>,
    subscriptions: OnceCell<SubscriptionAdmin>,
}

/// Builds any of the client's clients. A macro, because their builders have the same methods but no common trait.
macro_rules! connect {
    ($google:expr, $builder:expr) => {
        match &$google.0.endpoint {
            // Default credentials would wait for a metadata server that is not there.
            Some(endpoint) => $builder.with_endpoint(endpoint).with_credentials(anonymous::Builder::new().build()),
            None => $builder,
        }
        .build()
        .await
        .map_err(|error| $google.failure("connecting to Pub/Sub", error))
    };
}

impl Google {
    /// `emulator_host` is what `PUBSUB_EMULATOR_HOST` holds, `host:port`, which the client itself does not read. Without
    /// it: the real service, with the default credentials of the place this runs in.
    pub fn new(project: impl Into<String>, emulator_host: Option<String>) -> Self {
        let endpoint = emulator_host
            .as_deref()
            .map(|host| host.trim().trim_start_matches("http://").trim_end_matches('/'))
            .filter(|host| !host.is_empty())
            .map(|host| format!("http://{host}"));
        Self(Arc::new(Connection {
            project: project.into(),
            endpoint,
            publisher: OnceCell::new(),
            topics: OnceCell::new(),
            subscriptions: OnceCell::new(),
        }))
    }

    pub fn publisher(&self, topic: &str) -> GooglePublisher {
        GooglePublisher::new(self.clone(), self.topic_path(topic))
    }

    /// `streams` pulls side by side, each with at most `max_outstanding` unsettled messages. The emulator paces a stream
    /// to about 2,000 messages/s, so give it 8; the real service needs 1 to 4.
    pub fn subscription(&self, name: &str, streams: usize, max_outstanding: i64) -> GoogleSubscription {
        GoogleSubscription::new(self.clone(), self.subscription_path(name), streams, max_outstanding)
    }

    fn is_emulator(&self) -> bool {
        self.0.endpoint.is_some()
    }

    fn topic_path(&self, topic: &str) -> String {
        format!("projects/{}/topics/{topic}", self.0.project)
    }

    fn subscription_path(&self, name: &str) -> String {
        format!("projects/{}/subscriptions/{name}", self.0.project)
    }

    /// One connection for every topic.
    async fn base_publisher(&self) -> Result<&BasePublisher, Error> {
        self.0
            .publisher
            .get_or_try_init(async || {
                // By itself the client would try for 10 minutes, and the relay would look merely slow all that time.
                let retry = RetryableErrors.with_time_limit(PUBLISH_DEADLINE);
                connect!(self, BasePublisher::builder().with_retry_policy(retry))
            })
            .await
    }

    async fn topics(&self) -> Result<&TopicAdmin, Error> {
        self.0.topics.get_or_try_init(async || connect!(self, TopicAdmin::builder())).await
    }

    async fn subscriptions(&self) -> Result<&SubscriptionAdmin, Error> {
        self.0.subscriptions.get_or_try_init(async || connect!(self, SubscriptionAdmin::builder())).await
    }

    /// A connection of its own for every receiver: leases must not queue behind another's.
    async fn subscriber(&self) -> Result<Subscriber, Error> {
        connect!(self, Subscriber::builder())
    }

    fn failure(&self, doing: impl Display, error: impl Display) -> Error {
        let place = self.0.endpoint.as_deref().unwrap_or("Google Cloud");
        Error { doing: format!("{doing} at {place}"), reason: error.to_string(), blames: Blame::Bus }
    }

    /// As [`Self::failure`], with whom the status blames, and what to do about it where that is known.
    fn refusal(&self, doing: impl Display, error: &google_cloud_pubsub::Error) -> Error {
        let remedy = match status(error) {
            Some("NOT_FOUND") => "create it, or correct the project or the name",
            Some("PERMISSION_DENIED") => {
                "grant this service account roles/pubsub.subscriber or roles/pubsub.publisher on it"
            }
            Some("UNAUTHENTICATED") => "give this process credentials of Google Cloud",
            Some("FAILED_PRECONDITION") => "it must be a pull subscription that is attached to its topic",
            // A quota that is used up or a service in trouble says something else: what is refused with these codes is
            // refused whenever it comes.
            Some("INVALID_ARGUMENT" | "OUT_OF_RANGE") => {
                return Error { blames: Blame::Messages, ..self.failure(doing, error) };
            }
            _ => return self.failure(doing, error),
        };
        self.failure(doing, format_args!("{error} ({remedy})"))
    }
}

/// The name of the gRPC code, if the service answered at all.
fn status(error: &google_cloud_pubsub::Error) -> Option<&'static str> {
    error.status().map(|status| status.code.name())
}
