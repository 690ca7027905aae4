//! From events to what is published of them at a time.

use bus::{Message, limits};
use events::{Payload, Position, Recorded, Topic, wire};
use traces::{Span, SpanKind, names};

use super::cursor::Refusal;
use super::publish::Outcome;
use crate::read::{Page, Unreadable};

/// Bytes of messages after which a load is closed: in flight of a topic is at most this, and one message more.
const FULL: usize = limits::REQUEST_BYTES / 2;

/// Consecutive events of a page, to be published together.
pub(super) struct Load {
    pub(super) events: Vec<Outgoing>,
    pub(super) messages: Vec<Message>,
    /// Events among them that are beyond the limits of any bus, or of the store's readers.
    pub(super) refusals: Vec<Refusal>,
    /// The last position that it answers for.
    pub(super) upto: Position,
}

/// An event that is to be published.
pub(super) struct Outgoing {
    pub(super) event: Recorded<Payload>,
    /// Of its being sent, if its trace is kept; receivers go on from there.
    span: Span,
}

impl Outgoing {
    fn new(event: Recorded<Payload>, topic: &'static Topic) -> Self {
        let span = if traces::are_on() {
            let trace = event.data.metadata.trace();
            let mut span = traces::within(trace, || names::send(topic.name), SpanKind::Producer).begin();
            span.say(|words| {
                names::of_message(words, "send", topic.name);
                names::of_event(words, &event);
                names::of_aggregate(words, &event);
            });
            span
        } else {
            Span::default()
        };
        Self { event, span }
    }

    pub(super) fn message(&self) -> Message {
        let (data, attributes) = wire::encode(&self.event);
        let mut message = Message {
            data: data.into(),
            attributes: attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        };
        if let Some(sending) = self.span.context() {
            message.attributes.insert(wire::TRACEPARENT.to_owned(), sending.to_string());
        }
        message
    }

    /// What became of it. Its span ends.
    pub(super) fn told(&mut self, outcome: &Outcome) {
        let mut span = std::mem::take(&mut self.span);
        match outcome {
            Outcome::Confirmed => {}
            Outcome::Refused(_) => span.fail("refused", "the bus does not take it"),
            Outcome::Unknown => span.fail("not_confirmed", "it is published again"),
        }
    }
}

/// Cuts a page into loads: one at a time, so that messages are made when they are needed.
pub(super) fn loads(page: Page, topic: &'static Topic) -> impl Iterator<Item = Load> {
    let mut events = page.events.into_iter().peekable();
    let mut unreadable = page.unreadable.into_iter().map(unreadable).peekable();
    std::iter::from_fn(move || {
        if events.peek().is_none() && unreadable.peek().is_none() {
            return None;
        }
        let mut load = Load { events: Vec::new(), messages: Vec::new(), refusals: Vec::new(), upto: page.upto };
        let mut bytes = 0;
        while bytes < FULL
            && load.messages.len() < limits::REQUEST_MESSAGES
            && let Some(event) = events.next()
        {
            load.upto = event.position;
            let event = Outgoing::new(event, topic);
            let message = event.message();
            match limits::message(&message) {
                Ok(()) => {
                    bytes += message.bytes();
                    load.messages.push(message);
                    load.events.push(event);
                }
                Err(exceeded) => {
                    load.refusals.push(Refusal { position: load.upto, reason: exceeded.to_string() });
                }
            }
        }
        if events.peek().is_none() {
            load.upto = page.upto;
        }
        while let Some(refusal) = unreadable.next_if(|refusal| refusal.position <= load.upto) {
            load.refusals.push(refusal);
        }
        Some(load)
    })
}

fn unreadable(event: Unreadable) -> Refusal {
    let reason = format!("the store cannot give it back: it would print {} bytes or more", event.bytes);
    Refusal { position: event.position, reason }
}
