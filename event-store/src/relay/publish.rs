//! Publishing a load: what is refused together is tried in parts, until each refusal names one message.

use bus::{Blame, Message, PublishError, Publisher};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use tokio::sync::Semaphore;

use super::load::Outgoing;

/// How many parts a refused request is tried in. Two would ask the bus ten times, one after the other, to find one of a
/// thousand; with sixteen, side by side, it is three times.
const PARTS: usize = 16;

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Confirmed,
    /// For good, and alone.
    Refused(String),
    /// It may be with the bus or not: it is to be published again.
    Unknown,
}

/// What became of a load, message by message.
#[derive(Debug, Default)]
pub(super) struct Published {
    pub(super) outcomes: Vec<Outcome>,
    /// Why some are unknown.
    pub(super) away: Option<bus::Error>,
}

/// Publishes one load.
pub(super) struct Publishing<'a> {
    publisher: &'a dyn Publisher,
    /// Requests in flight while parts are tried.
    requests: Semaphore,
}

impl<'a> Publishing<'a> {
    pub(super) fn by(publisher: &'a dyn Publisher) -> Self {
        Self { publisher, requests: Semaphore::new(PARTS) }
    }

    /// Publishes a few of the events, each alone: does the topic take anything?
    pub(super) async fn probe(&self, events: &[Outgoing]) -> Published {
        let mut published = Published::default();
        for event in events.chunks(events.len().div_ceil(PARTS).max(1)).map(|part| &part[..1]) {
            let probed = self.publish(event, messages_of(event)).await;
            published.outcomes.extend(probed.outcomes);
            published.away = published.away.or(probed.away);
            if published.away.is_some() || published.any_taken() {
                break;
            }
        }
        published
    }

    /// `messages` are those of `events`.
    pub(super) fn publish<'b>(&'b self, events: &'b [Outgoing], messages: Vec<Message>) -> BoxFuture<'b, Published> {
        async move {
            let answer = {
                let _request = self.requests.acquire().await.expect("it is not closed");
                if messages.is_empty() { Ok(()) } else { self.publisher.publish(messages).await }
            };
            let Err(PublishError { confirmed, source }) = answer else {
                return Published { outcomes: vec![Outcome::Confirmed; events.len()], away: None };
            };
            let mut published = Published { outcomes: vec![Outcome::Confirmed; confirmed], away: None };
            let rest = &events[confirmed..];
            match (source.blames, rest.len()) {
                (Blame::Bus, unknown) => {
                    published.outcomes.extend(vec![Outcome::Unknown; unknown]);
                    published.away = Some(source);
                }
                (Blame::Messages, 0 | 1) => published.outcomes.push(Outcome::Refused(source.reason)),
                (Blame::Messages, many) => {
                    let parts = rest.chunks(many.div_ceil(PARTS));
                    let parts: Vec<_> = parts.map(|part| self.publish(part, messages_of(part))).collect();
                    for part in join_all(parts).await {
                        published.outcomes.extend(part.outcomes);
                        published.away = published.away.or(part.away);
                    }
                }
            }
            published
        }
        .boxed()
    }
}

impl Published {
    pub(super) fn any_taken(&self) -> bool {
        self.outcomes.contains(&Outcome::Confirmed)
    }
}

fn messages_of(events: &[Outgoing]) -> Vec<Message> {
    events.iter().map(Outgoing::message).collect()
}
