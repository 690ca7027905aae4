//! What Pub/Sub takes. Both buses refuse what is beyond it, and so does the broker of the tests: Google's emulator is
//! lenient, and a request that is too large it never answers.
//!
//! Source: <https://cloud.google.com/pubsub/quotas#resource_limits>, "publish request" and "attributes".

use std::collections::BTreeMap;

use crate::Message;

/// Bytes of a message: its data and its attributes, keys and values.
pub const MESSAGE_BYTES: usize = 10_000_000;
pub const ATTRIBUTES: usize = 100;
pub const KEY_BYTES: usize = 256;
pub const VALUE_BYTES: usize = 1_024;
pub const REQUEST_MESSAGES: usize = 1_000;
/// Bytes of a request as it is encoded, the topic's name included.
pub const REQUEST_BYTES: usize = 10_000_000;

/// More than the longest name of a topic, `projects/P/topics/T`, takes in a request.
const TOPIC_BYTES: usize = 512;

/// Bytes of messages after which a request is closed, unless one message alone is larger. Half of the limit: requests of a
/// page go out side by side, and smaller ones sooner.
const FULL_REQUEST: usize = REQUEST_BYTES / 2;

/// Why a message is beyond what Pub/Sub takes, however often it is tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    #[error("neither data nor attributes")]
    Empty,
    #[error("{0} bytes with its attributes, in a request of its own; at most {MESSAGE_BYTES}")]
    Bytes(usize),
    #[error("{0} attributes; at most {ATTRIBUTES}")]
    Attributes(usize),
    #[error("the name of an attribute is empty")]
    NoKey,
    #[error("the name of an attribute has {0} bytes; at most {KEY_BYTES}")]
    Key(usize),
    #[error("the name of an attribute begins with goog, which is Google's own")]
    Reserved,
    #[error("the value of an attribute has {0} bytes; at most {VALUE_BYTES}")]
    Value(usize),
}

/// Why a request is refused, and all of its messages with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("message {0} of the request: {1}")]
    Message(usize, Exceeded),
    #[error("{0} messages in one request; at most {REQUEST_MESSAGES}")]
    Messages(usize),
    #[error("a request of {0} bytes; at most {REQUEST_BYTES}")]
    Bytes(usize),
}

/// Whether Pub/Sub would take this message.
///
/// # Errors
/// It would not, ever.
pub fn message(message: &Message) -> Result<(), Exceeded> {
    let Message { data, attributes } = message;
    if data.is_empty() && attributes.is_empty() {
        return Err(Exceeded::Empty);
    }
    if attributes.len() > ATTRIBUTES {
        return Err(Exceeded::Attributes(attributes.len()));
    }
    attributes.iter().try_for_each(|(key, value)| attribute(key, value))?;
    // Which of the two is the smaller depends on the number of attributes.
    let bytes = message.bytes().max(encoded(message) + TOPIC_BYTES);
    if bytes > MESSAGE_BYTES { Err(Exceeded::Bytes(bytes)) } else { Ok(()) }
}

fn attribute(key: &str, value: &str) -> Result<(), Exceeded> {
    match (key.len(), value.len()) {
        (0, _) => Err(Exceeded::NoKey),
        (long, _) if long > KEY_BYTES => Err(Exceeded::Key(long)),
        (_, long) if long > VALUE_BYTES => Err(Exceeded::Value(long)),
        // `googclient_` is for clients: the trace, for example.
        _ if key.starts_with("goog") && !key.starts_with("googclient_") => Err(Exceeded::Reserved),
        _ => Ok(()),
    }
}

/// Whether Pub/Sub would take these messages in one request: all of them, or none.
///
/// # Errors
/// It would not, ever.
pub fn request(messages: &[Message]) -> Result<(), Refused> {
    if messages.len() > REQUEST_MESSAGES {
        return Err(Refused::Messages(messages.len()));
    }
    for (index, one) in messages.iter().enumerate() {
        message(one).map_err(|exceeded| Refused::Message(index, exceeded))?;
    }
    let bytes = messages.iter().map(encoded).sum::<usize>() + TOPIC_BYTES;
    if bytes > REQUEST_BYTES { Err(Refused::Bytes(bytes)) } else { Ok(()) }
}

/// The messages in their order, in requests that are within the limits if each message is.
pub fn requests(messages: Vec<Message>) -> Vec<Vec<Message>> {
    let mut requests: Vec<Vec<Message>> = Vec::new();
    let mut bytes = 0;
    for message in messages {
        let size = encoded(&message);
        match requests.last_mut() {
            Some(last) if last.len() < REQUEST_MESSAGES && bytes + size <= FULL_REQUEST => {
                bytes += size;
                last.push(message);
            }
            _ => {
                bytes = size;
                requests.push(vec![message]);
            }
        }
    }
    requests
}

/// Bytes that a message takes in a request: a Protocol Buffers field of data and a map of attributes.
fn encoded(message: &Message) -> usize {
    let data = if message.data.is_empty() { 0 } else { field(message.data.len()) };
    field(data + encoded_map(&message.attributes))
}

fn encoded_map(attributes: &BTreeMap<String, String>) -> usize {
    attributes.iter().map(|(key, value)| field(field(key.len()) + field(value.len()))).sum()
}

/// A tag, the length as a varint of seven bits a byte, and the bytes.
fn field(length: usize) -> usize {
    let bits = usize::BITS - (length | 1).leading_zeros();
    1 + bits.div_ceil(7) as usize + length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message_of(data: usize, attributes: &[(&str, usize)]) -> Message {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), "v".repeat(*value))).collect();
        Message { data: vec![b'd'; data].into(), attributes }
    }

    #[test]
    fn each_limit_is_kept_to_the_byte() {
        let key = |length: usize| message_of(0, &[(&"k".repeat(length), 1)]);
        let many = |count: usize| Message {
            data: "x".into(),
            attributes: (0..count).map(|n| (format!("k{n}"), String::new())).collect(),
        };
        for (within, beyond, why) in [
            (message_of(1, &[]), message_of(0, &[]), Exceeded::Empty),
            (key(KEY_BYTES), key(KEY_BYTES + 1), Exceeded::Key(257)),
            (key(1), key(0), Exceeded::NoKey),
            (message_of(0, &[("k", VALUE_BYTES)]), message_of(0, &[("k", VALUE_BYTES + 1)]), Exceeded::Value(1025)),
            (message_of(1, &[("googclient_traceparent", 1)]), message_of(1, &[("google", 1)]), Exceeded::Reserved),
            (many(ATTRIBUTES), many(ATTRIBUTES + 1), Exceeded::Attributes(101)),
            (message_of(9_999_478, &[]), message_of(9_999_479, &[]), Exceeded::Bytes(10_000_001)),
        ] {
            assert_eq!(message(&within), Ok(()), "{why}");
            assert_eq!(message(&beyond), Err(why));
        }
    }

    #[test]
    fn attributes_count_towards_the_size() {
        let attributes: Vec<_> = (0..100).map(|n| (format!("k{n}"), "v".repeat(1024))).collect();
        let large = Message { data: vec![b'd'; 9_950_000].into(), attributes: attributes.into_iter().collect() };
        assert!(matches!(message(&large), Err(Exceeded::Bytes(_))));
    }

    #[test]
    fn a_page_is_cut_into_requests_that_are_within_the_limits_and_keep_its_order() {
        for (count, bytes, requests_of_it) in [(2_500, 10, 3), (12, 2_000_000, 6), (3, 9_000_000, 3), (0, 0, 0)] {
            let page: Vec<_> = (0..count).map(|n| message_of(bytes, &[(&format!("n{n}"), 1)])).collect();
            let cut = requests(page.clone());
            assert_eq!(cut.len(), requests_of_it, "{count} of {bytes} bytes");
            assert!(cut.iter().all(|part| request(part).is_ok()));
            assert_eq!(cut.concat(), page);
        }
    }

    #[test]
    fn a_request_is_judged_as_a_whole() {
        let small = || message_of(1, &[]);
        assert_eq!(request(&vec![small(); 1_001]), Err(Refused::Messages(1_001)));
        assert!(matches!(request(&vec![message_of(6_000_000, &[]); 2]), Err(Refused::Bytes(_))));
        let one_is_empty = [small(), message_of(0, &[]), small()];
        assert_eq!(request(&one_is_empty), Err(Refused::Message(1, Exceeded::Empty)));
    }
}
