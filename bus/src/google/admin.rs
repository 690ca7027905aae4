//! Topics and subscriptions from code, for the emulator and for tests. In production they are Terraform's.

use google_cloud_pubsub::model::{DeadLetterPolicy, PushConfig, RetryPolicy};
use google_cloud_pubsub::{Error as ClientError, Result as ClientResult};

use super::{Google, status};
use crate::{Error, Spec};

impl Google {
    /// # Errors
    /// The service refuses or cannot be reached. A topic that exists is no error.
    pub async fn ensure_topic(&self, name: &str) -> Result<(), Error> {
        let path = self.topic_path(name);
        let created = self.topics().await?.create_topic().set_name(&path).send().await;
        self.tolerate("ALREADY_EXISTS", created, format!("creating {path}"))
    }

    /// # Errors
    /// The service refuses (the topic or the dead-letter topic does not exist) or cannot be reached. A subscription that
    /// exists is no error, and is left as it is, even if it differs from `spec`.
    pub async fn ensure_subscription(&self, spec: Spec) -> Result<(), Error> {
        let path = self.subscription_path(&spec.name);
        let doing = format!("creating {path}");
        let ack_deadline = i32::try_from(spec.ack_deadline_seconds).map_err(|error| self.failure(&doing, error))?;
        let retry_policy = (!spec.max_backoff.is_zero()).then(|| {
            let mut policy = RetryPolicy::new();
            policy.minimum_backoff = spec.min_backoff.try_into().ok();
            policy.maximum_backoff = spec.max_backoff.try_into().ok();
            policy
        });
        let dead_letter_policy = spec.dead_letter_topic.map(|topic| {
            let attempts = i32::try_from(spec.max_delivery_attempts).unwrap_or(i32::MAX);
            DeadLetterPolicy::new().set_dead_letter_topic(self.topic_path(&topic)).set_max_delivery_attempts(attempts)
        });
        let push_config = spec.push_endpoint.map(|endpoint| PushConfig::new().set_push_endpoint(endpoint));

        let created = self
            .subscriptions()
            .await?
            .create_subscription()
            .set_name(&path)
            .set_topic(self.topic_path(&spec.topic))
            .set_ack_deadline_seconds(ack_deadline)
            .set_or_clear_retry_policy(retry_policy)
            .set_or_clear_dead_letter_policy(dead_letter_policy)
            .set_or_clear_push_config(push_config)
            .send()
            .await;
        self.tolerate("ALREADY_EXISTS", created, doing)
    }

    /// # Errors
    /// As [`Self::ensure_topic`]; a topic that does not exist is no error.
    pub async fn delete_topic(&self, name: &str) -> Result<(), Error> {
        let path = self.topic_path(name);
        let deleted = self.topics().await?.delete_topic().set_topic(&path).send().await;
        self.tolerate("NOT_FOUND", deleted, format!("deleting {path}"))
    }

    /// # Errors
    /// As [`Self::ensure_topic`]; a subscription that does not exist is no error.
    pub async fn delete_subscription(&self, name: &str) -> Result<(), Error> {
        let path = self.subscription_path(name);
        let deleted = self.subscriptions().await?.delete_subscription().set_subscription(&path).send().await;
        self.tolerate("NOT_FOUND", deleted, format!("deleting {path}"))
    }

    fn tolerate<T>(&self, code: &str, answer: ClientResult<T>, doing: String) -> Result<(), Error> {
        let tolerable = |error: &ClientError| status(error) == Some(code);
        match answer {
            Err(error) if !tolerable(&error) => Err(self.refusal(doing, &error)),
            _ => Ok(()),
        }
    }
}
