//! `POST /push`: deliveries that Pub/Sub brings instead of being asked.
//!
//! A pushed delivery goes through the very same worker as a pulled one; the answer is its receipt. 2xx only after the
//! commit; anything else makes Pub/Sub bring it again.

mod envelope;
mod oidc;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::routing::post;
use bus::{Delivery, Receipt, Room, Settle, Taken};
use events::Topic;
use tokio::sync::{mpsc, oneshot};

pub use envelope::{Malformed, Pushed, read};
pub(crate) use oidc::REFUSALS;
pub use oidc::{Config as OidcConfig, Verifier};

use crate::Metrics;

/// A 10 MB message is 13.4 MB in base64.
const MAX_BODY: usize = 16 << 20;

/// How long a body may take to come.
const BODY: Duration = Duration::from_secs(30);

/// Below Pub/Sub's ack deadline, so that the answer is ours.
const ANSWER: Duration = Duration::from_secs(50);

/// What a push may come to.
pub(crate) const OUTCOMES: [&str; 6] = ["acked", "nacked", "busy", "refused", "too_large", "malformed"];

#[derive(Clone)]
pub struct Push {
    pub topic: &'static Topic,
    pub deliveries: mpsc::Sender<Delivery>,
    /// Bodies in hand take as much of it as messages do.
    pub room: Room,
    /// `None` only where nobody else can reach the port.
    pub verifier: Option<Arc<Verifier>>,
    pub metrics: Metrics,
}

pub fn router(push: Push) -> Router {
    Router::new().route("/push", post(receive)).with_state(push)
}

async fn receive(State(push): State<Push>, request: Request) -> (StatusCode, String) {
    let (outcome, status, detail) = match push.handle(request).await {
        Ok(()) => ("acked", StatusCode::NO_CONTENT, String::new()),
        Err((outcome, status, detail)) => (outcome, status, detail),
    };
    push.metrics.push_requests.with_label_values(&[push.topic.name, outcome]).inc();
    (status, detail)
}

type Refusal = (&'static str, StatusCode, String);

impl Push {
    /// The token comes first: nobody else's body is even read.
    async fn handle(&self, request: Request) -> Result<(), Refusal> {
        if let Some(verifier) = &self.verifier {
            verifier.verify(request.headers()).await.map_err(|error| {
                self.metrics.push_auth_failures.with_label_values(&[error.reason()]).inc();
                ("refused", error.status(), error.to_string())
            })?;
        }
        // Pub/Sub slows down when it hears this, and brings the message again.
        if !self.room.is_open() {
            let detail = "as many bytes as may be are being settled; it is delivered again".to_owned();
            return Err(("busy", StatusCode::TOO_MANY_REQUESTS, detail));
        }
        let taken = self.room.take(announced(&request));
        let body = tokio::time::timeout(BODY, to_bytes(request.into_body(), MAX_BODY)).await;
        let body = body.map_err(|_| {
            let detail = format!("the body does not come within {} s", BODY.as_secs());
            ("malformed", StatusCode::REQUEST_TIMEOUT, detail)
        })?;
        let body = body.map_err(|error| {
            (
                "too_large",
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body cannot be read up to {MAX_BODY} bytes: {error}"),
            )
        })?;
        let (answer, answered) = oneshot::channel();
        let delivery = delivery(self.topic, &body, Answer(answer, taken))?;
        drop(body);
        let nacked = |detail: &str| ("nacked", StatusCode::SERVICE_UNAVAILABLE, detail.to_owned());
        self.deliveries.send(delivery).await.map_err(|_| nacked("this worker is stopping"))?;
        match tokio::time::timeout(ANSWER, answered).await {
            Ok(Ok(true)) => Ok(()),
            Ok(_) => Err(nacked("not settled; it is delivered again")),
            Err(_) => Err(nacked("not settled in time; it is delivered again")),
        }
    }
}

/// The delivery that a body brings, with the HTTP answer as its receipt.
fn delivery(topic: &Topic, body: &[u8], answer: Answer) -> Result<Delivery, Refusal> {
    let malformed = |error: Malformed| ("malformed", StatusCode::BAD_REQUEST, error.to_string());
    let Pushed { message, message_id, published_at, attempt } = read(topic, body).map_err(malformed)?;
    Ok(Delivery { message, message_id, published_at, attempt, receipt: Receipt::new(answer) })
}

/// The bytes that a request says it has; without its word, the most that it may have.
fn announced(request: &Request) -> usize {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    length.map_or(MAX_BODY, |length: usize| length.min(MAX_BODY))
}

/// The receipt of a pushed delivery: the status of the HTTP answer, and the room that its body takes until then.
struct Answer(oneshot::Sender<bool>, #[expect(dead_code, reason = "it is held, not read")] Taken);

impl Settle for Answer {
    fn ack(self: Box<Self>) {
        let _ = self.0.send(true);
    }

    fn nack(self: Box<Self>) {
        let _ = self.0.send(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::ORDERS;

    fn refused(body: &str) -> Refusal {
        let (answer, _) = oneshot::channel();
        delivery(&ORDERS, body.as_bytes(), Answer(answer, Room::new(1).take(1))).expect_err(body)
    }

    #[test]
    fn a_body_that_pubsub_never_sends_is_refused_with_a_reason() {
        for (body, reason) in [
            ("", "not a Pub/Sub push request"),
            ("{}", "missing field `message`"),
            (r#"{"message":{"data":"","messageId":"1"}}"#, "missing field `subscription`"),
            (r#"{"message":{"data":"","messageId":"1"},"subscription":"projects/p/subscriptions/other"}"#, "not other"),
            (
                r#"{"message":{"data":"*","messageId":"1"},"subscription":"projects/p/subscriptions/order-projection"}"#,
                "not base64",
            ),
        ] {
            let (outcome, status, detail) = refused(body);
            assert_eq!((outcome, status), ("malformed", StatusCode::BAD_REQUEST));
            assert!(detail.contains(reason), "{body}: {detail}");
        }
    }

    #[tokio::test]
    async fn a_dropped_delivery_is_answered_as_not_settled() {
        let body = r#"{"message":{"data":"eyJ9","messageId":"1","attributes":null},
            "subscription":"projects/p/subscriptions/order-projection","deliveryAttempt":3}"#;
        let (answer, answered) = oneshot::channel();
        let answer = Answer(answer, Room::new(1).take(1));
        let delivery = delivery(&ORDERS, body.as_bytes(), answer).expect("a proper request");
        assert_eq!(delivery.attempt, Some(3));
        drop(delivery);
        assert_eq!(answered.await, Ok(false));
    }
}
