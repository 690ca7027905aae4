//! From events to what is published of them at a time.

use bus::{Message, limits};
use events::{Payload, Position, Recorded, wire};

use super::cursor::Refusal;
use crate::read::{Page, Unreadable};

/// Bytes of messages after which a load is closed: in flight of a topic is at most this, and one message more.
const FULL: usize = limits::REQUEST_BYTES / 2;

/// Consecutive events of a page, to be published together.
pub(super) struct Load {
    pub(super) events: Vec<Recorded<Payload>>,
    pub(super) messages: Vec<Message>,
    /// Events among them that are beyond the limits of any bus, or of the store's readers.
    pub(super) refusals: Vec<Refusal>,
    /// The last position that it answers for.
    pub(super) upto: Position,
}

/// Cuts a page into loads: one at a time, so that messages are made when they are needed.
pub(super) fn loads(page: Page) -> impl Iterator<Item = Load> {
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

pub(super) fn message(event: &Recorded<Payload>) -> Message {
    let (data, attributes) = wire::encode(event);
    let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Message { data: data.into(), attributes }
}
