//! A message as it was received, without the right to settle it: on its way into the fleet, or out of what is parked.

use bus::{Delivery, Message};
use events::{Topic, TraceContext, wire};
use traces::{Span, SpanKind, names};

#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    pub message: &'a Message,
    /// The bus's own id.
    pub message_id: &'a str,
    /// The span in which it was received, or else the one in which it was sent, if it says.
    pub trace: Option<TraceContext>,
}

impl<'a> Received<'a> {
    pub fn new(message: &'a Message, message_id: &'a str) -> Self {
        let sent = || TraceContext::parse(message.attributes.get(wire::TRACEPARENT)?);
        Self { message, message_id, trace: sent() }
    }

    /// In a span of its own.
    pub fn within(delivery: &'a Delivery, span: &Span) -> Self {
        let received = Self::from(delivery);
        Self { trace: span.context().or(received.trace), ..received }
    }
}

impl<'a> From<&'a Delivery> for Received<'a> {
    fn from(delivery: &'a Delivery) -> Self {
        Self::new(&delivery.message, &delivery.message_id)
    }
}

/// The spans in which deliveries are worked on, one of each. They end when they are dropped.
pub(crate) fn spans(deliveries: &[Delivery], topic: &'static Topic) -> Vec<Span> {
    if !traces::are_on() {
        return deliveries.iter().map(|_| Span::default()).collect();
    }
    let span = |delivery: &Delivery| {
        let sent = Received::from(delivery).trace;
        let mut span = traces::within(sent, || names::receive(topic.name), SpanKind::Consumer).begin();
        span.say(|words| {
            names::of_message(words, "receive", topic.name);
            words.text(names::MESSAGE_ID, &delivery.message_id);
            if let Some(attempt) = delivery.attempt {
                words.number(names::DELIVERY_ATTEMPT, attempt.into());
            }
        });
        span
    };
    deliveries.iter().map(span).collect()
}
