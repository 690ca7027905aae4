//! The body of a push request. Knows nothing of HTTP.

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine};
use bus::Message;
use chrono::{DateTime, Utc};
use events::Topic;
use serde::Deserialize;

/// A message as it was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    pub message: Message,
    pub message_id: String,
    pub published_at: Option<DateTime<Utc>>,
    pub attempt: Option<u32>,
}

/// Pub/Sub does not send this, or not to this worker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("this is not a Pub/Sub push request: {0}")]
    NotAPush(String),
    #[error("this worker serves {served}, not {asked}")]
    OtherSubscription { served: &'static str, asked: String },
    #[error("message.data is not base64: {0}")]
    NotBase64(#[from] base64::DecodeError),
}

/// What Pub/Sub posts, as far as it is needed.
#[derive(Debug, Deserialize)]
struct Envelope {
    message: PushedMessage,
    subscription: String,
    #[serde(default, rename = "deliveryAttempt")]
    delivery_attempt: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct PushedMessage {
    #[serde(default)]
    data: String,
    #[serde(default)]
    attributes: Option<BTreeMap<String, String>>,
    #[serde(rename = "messageId")]
    message_id: String,
    #[serde(default, rename = "publishTime")]
    publish_time: Option<DateTime<Utc>>,
}

/// Reads a body that was posted to a worker of `topic`.
///
/// # Errors
/// The body is no push request, or one of another subscription.
pub fn read(topic: &Topic, body: &[u8]) -> Result<Pushed, Malformed> {
    let envelope: Envelope = serde_json::from_slice(body).map_err(|error| Malformed::NotAPush(error.to_string()))?;
    let asked = envelope.subscription.rsplit('/').next().unwrap_or_default();
    if asked != topic.subscription {
        return Err(Malformed::OtherSubscription { served: topic.subscription, asked: asked.to_owned() });
    }
    let PushedMessage { data, attributes, message_id, publish_time } = envelope.message;
    Ok(Pushed {
        message: Message { data: BASE64_STANDARD.decode(data)?.into(), attributes: attributes.unwrap_or_default() },
        message_id,
        published_at: publish_time,
        attempt: envelope.delivery_attempt,
    })
}
