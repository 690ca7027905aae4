//! From events to what is published of them at a time.

use bus::{Message, limits};
use events::{Payload, Position, Recorded, wire};

use super::cursor::Refusal;

/// Bytes of messages after which a load is closed: in flight of a topic is at most this, and one message more.
const FULL: usize = limits::REQUEST_BYTES / 2;

/// Consecutive events of a page, to be published together.
pub(super) struct Load {
    pub(super) events: Vec<Recorded<Payload>>,
    pub(super) messages: Vec<Message>,
    /// Events among them that are beyond the limits of any bus.
    pub(super) refusals: Vec<Refusal>,
    /// The last position that it answers for.
    pub(super) upto: Position,
}

/// Cuts a page, which ends at `upto`, into loads: one at a time, so that messages are made when they are needed.
pub(super) fn loads(events: Vec<Recorded<Payload>>, upto: Position) -> impl Iterator<Item = Load> {
    let mut events = events.into_iter().peekable();
    std::iter::from_fn(move || {
        events.peek()?;
        let mut load = Load { events: Vec::new(), messages: Vec::new(), refusals: Vec::new(), upto };
        let mut bytes = 0;
        while bytes < FULL
            && load.messages.len() < limits::REQUEST_MESSAGES
            && let Some(event) = events.next()
        {
            load.upto = event.position;
            let message = message(&event);
            match limits::message(&message) {
                Ok(()) => {
                    bytes += message.bytes();
                    load.messages.push(message);
                    load.events.push(event);
                }
                Err(exceeded) => {
                    load.refusals.push(Refusal { position: event.position, reason: exceeded.to_string() });
                }
            }
        }
        if events.peek().is_none() {
            load.upto = upto;
        }
        Some(load)
    })
}

pub(super) fn message(event: &Recorded<Payload>) -> Message {
    let (data, attributes) = wire::encode(event);
    let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Message { data: data.into(), attributes }
}
