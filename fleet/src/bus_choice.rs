//! Which bus: Google's, real or emulated, or the one within this process.

use std::sync::Arc;
use std::time::Duration;

use bus::embedded::Embedded;
use bus::google::Google;
use bus::{Publisher, Room, Spec, Subscription};
use clap::Args;
use events::Topic;

/// Where the bus is.
#[derive(Debug, Clone, Args)]
pub struct PubSub {
    /// The Google Cloud project of the topics and subscriptions.
    #[arg(long, env = "GOOGLE_CLOUD_PROJECT", default_value = "fleet-dev")]
    pub project: String,
    /// host:port of a Pub/Sub emulator. Absent: the real service; `fleet dev` looks for an emulator, and starts one.
    #[arg(long, env = "PUBSUB_EMULATOR_HOST")]
    pubsub_emulator_host: Option<String>,
}

impl PubSub {
    /// host:port of the emulator, if one is named.
    pub fn emulator(&self) -> Option<&str> {
        self.pubsub_emulator_host.as_deref().filter(|host| !host.is_empty())
    }

    pub fn bus(&self) -> Bus {
        Bus::Google(Google::new(&self.project, self.emulator().map(str::to_owned)))
    }
}

/// Pulls side by side, each with so many unsettled messages at most, and all of them within a room.
#[derive(Debug, Clone)]
pub struct Pull {
    pub streams: usize,
    pub max_outstanding: i64,
    pub room: Room,
}

/// Where the messages of topics travel. Cheap to clone; clones are the same bus.
#[derive(Debug, Clone)]
pub enum Bus {
    /// Google Cloud Pub/Sub, or its emulator.
    Google(Google),
    /// Within this process, and gone with it.
    Embedded(Embedded),
}

impl Bus {
    /// Publishes to the topic.
    pub fn publisher(&self, topic: &Topic) -> Arc<dyn Publisher> {
        match self {
            Self::Google(google) => Arc::new(google.publisher(topic.name)),
            Self::Embedded(embedded) => Arc::new(embedded.publisher(topic.name)),
        }
    }

    /// Reads the subscription of the topic.
    pub fn subscription(&self, topic: &Topic, pull: Pull) -> Arc<dyn Subscription> {
        match self {
            Self::Google(google) => {
                let subscription = google.subscription(topic.subscription, pull.streams, pull.max_outstanding);
                Arc::new(subscription.within(pull.room))
            }
            Self::Embedded(embedded) => Arc::new(embedded.subscription(topic.subscription).within(pull.room)),
        }
    }

    /// What the broker gave up on. Rare, and nobody waits for it: one stream, few at a time.
    pub fn dead_letters(&self, topic: &Topic, room: Room) -> Arc<dyn Subscription> {
        let name = topic.dead_letter();
        match self {
            Self::Google(google) => Arc::new(google.subscription(&name, 1, 100).within(room)),
            Self::Embedded(embedded) => Arc::new(embedded.subscription(&name).within(room)),
        }
    }

    /// Creates what Terraform creates in production: topics, subscriptions, dead letters. What exists stays as it is.
    ///
    /// # Errors
    /// The bus does not answer, or refuses one of them.
    pub async fn ensure(&self, topics: &[&Topic]) -> Result<(), bus::Error> {
        for topic in topics {
            let dead_letter = topic.dead_letter();
            self.ensure_topic(&dead_letter).await?;
            self.ensure_subscription(Spec::new(&dead_letter, &dead_letter)).await?;
            self.ensure_topic(topic.name).await?;
            self.ensure_subscription(Spec {
                ack_deadline_seconds: Topic::ACK_DEADLINE_SECONDS,
                min_backoff: Duration::from_secs(Topic::MINIMUM_BACKOFF_SECONDS.into()),
                max_backoff: Duration::from_secs(Topic::MAXIMUM_BACKOFF_SECONDS.into()),
                dead_letter_topic: Some(dead_letter),
                max_delivery_attempts: Topic::MAX_DELIVERY_ATTEMPTS,
                ..Spec::new(topic.subscription, topic.name)
            })
            .await?;
        }
        Ok(())
    }

    async fn ensure_topic(&self, name: &str) -> Result<(), bus::Error> {
        match self {
            Self::Google(google) => google.ensure_topic(name).await,
            Self::Embedded(embedded) => {
                embedded.ensure_topic(name);
                Ok(())
            }
        }
    }

    async fn ensure_subscription(&self, spec: Spec) -> Result<(), bus::Error> {
        match self {
            Self::Google(google) => google.ensure_subscription(spec).await,
            Self::Embedded(embedded) => embedded.ensure_subscription(spec),
        }
    }
}
