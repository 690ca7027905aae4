//! What is published.

use std::collections::BTreeMap;

use bytes::Bytes;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    pub data: Bytes,
    pub attributes: BTreeMap<String, String>,
}

impl Message {
    /// The most bytes of data that Pub/Sub takes in one message (10 MB, less room for the attributes).
    pub const MAX_BYTES: usize = 9_900_000;
}
