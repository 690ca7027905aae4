//! A span as OTLP writes it in protobuf, field by field, as soon as one is known: the bytes that are sent are all that is kept of it.
//!
//! Source: `opentelemetry/proto/trace/v1/trace.proto` and `common/v1/common.proto` of
//! <https://github.com/open-telemetry/opentelemetry-proto>, version 1.

use std::cell::RefCell;
use std::time::SystemTime;

use events::TraceContext;
use opentelemetry::trace::SpanKind;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use uuid::Uuid;

use crate::names::Name;

/// Bytes of most spans.
const USUAL: usize = 640;

/// Room of spans that have ended, kept by a thread for those that begin: so many, of so many bytes at most.
const SPARE: usize = 64;
const LARGEST: usize = 8 << 10;

thread_local! {
    static ROOM: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Numbers of the fields of `Span`.
mod span {
    pub const TRACE_ID: u32 = 1;
    pub const SPAN_ID: u32 = 2;
    pub const PARENT_SPAN_ID: u32 = 4;
    pub const NAME: u32 = 5;
    pub const KIND: u32 = 6;
    pub const START: u32 = 7;
    pub const END: u32 = 8;
    pub const ATTRIBUTES: u32 = 9;
    pub const LINKS: u32 = 13;
    pub const DROPPED_LINKS_COUNT: u32 = 14;
    pub const STATUS: u32 = 15;
    pub const FLAGS: u32 = 16;
}

/// Of `Span.Link`.
mod link {
    pub const TRACE_ID: u32 = 1;
    pub const SPAN_ID: u32 = 2;
    pub const FLAGS: u32 = 6;
}

/// Of `Status`.
mod status {
    pub const MESSAGE: u32 = 2;
    pub const CODE: u32 = 3;
    pub const ERROR: u64 = 2;
}

/// Of `KeyValue`.
mod attribute {
    pub const KEY: u32 = 1;
    pub const VALUE: u32 = 2;
}

/// Of `AnyValue`.
mod value {
    pub const TEXT: u32 = 1;
    pub const FLAG: u32 = 2;
    pub const NUMBER: u32 = 3;
}

/// The low eight bits are those of the trace context; these two say whether the other span is another process's.
const REMOTE_IS_KNOWN: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// What is said of a span: attributes, in the order in which they are said.
#[derive(Debug)]
pub struct Words(Vec<u8>);

impl Words {
    /// Says a text.
    pub fn text(&mut self, key: &str, text: &str) {
        let length = length_of(text.len());
        self.attribute(key, length, |out| bytes(out, value::TEXT, text.as_bytes()));
    }

    /// Says a number.
    pub fn number(&mut self, key: &str, number: i64) {
        // In two's complement, as protobuf has it.
        let number = number as u64;
        let length = 1 + encoded_len_varint(number);
        self.attribute(key, length, |out| varint(out, value::NUMBER, number));
    }

    /// Says whether something is so.
    pub fn flag(&mut self, key: &str, flag: bool) {
        self.attribute(key, 2, |out| varint(out, value::FLAG, flag.into()));
    }

    /// Says an id.
    pub fn id(&mut self, key: &str, id: Uuid) {
        self.text(key, id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
    }

    /// `length` is that of what `write` writes.
    fn attribute(&mut self, key: &str, length: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let Self(out) = self;
        begin(out, span::ATTRIBUTES, length_of(key.len()) + length_of(length));
        bytes(out, attribute::KEY, key.as_bytes());
        begin(out, attribute::VALUE, length);
        write(out);
    }

    /// A span that has begun.
    pub(crate) fn begin(this: TraceContext, parent: Option<TraceContext>, name: &Name, kind: &SpanKind) -> Self {
        let spare = ROOM.try_with(|room| room.borrow_mut().pop()).ok().flatten();
        let mut out = spare.unwrap_or_else(|| Vec::with_capacity(USUAL));
        bytes(&mut out, span::TRACE_ID, &this.trace_id().to_be_bytes());
        bytes(&mut out, span::SPAN_ID, &this.span_id().to_be_bytes());
        if let Some(parent) = parent {
            bytes(&mut out, span::PARENT_SPAN_ID, &parent.span_id().to_be_bytes());
        }
        fixed32(&mut out, span::FLAGS, flags(this, parent.is_some()));
        let parts = name.parts();
        begin(&mut out, span::NAME, parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
        varint(&mut out, span::KIND, number(kind));
        Self(out)
    }

    pub(crate) fn begun(&mut self, at: SystemTime) {
        fixed64(&mut self.0, span::START, nanoseconds(at));
    }

    pub(crate) fn link(&mut self, other: TraceContext) {
        let Self(out) = self;
        // Two ids, the two bytes before each of them, and flags with one.
        begin(out, span::LINKS, 2 + 16 + 2 + 8 + 1 + 4);
        bytes(out, link::TRACE_ID, &other.trace_id().to_be_bytes());
        bytes(out, link::SPAN_ID, &other.span_id().to_be_bytes());
        fixed32(out, link::FLAGS, flags(other, true));
    }

    pub(crate) fn links_left_out(&mut self, count: u32) {
        varint(&mut self.0, span::DROPPED_LINKS_COUNT, count.into());
    }

    pub(crate) fn failed(&mut self, what: &str) {
        let Self(out) = self;
        begin(out, span::STATUS, length_of(what.len()) + 2);
        bytes(out, status::MESSAGE, what.as_bytes());
        varint(out, status::CODE, status::ERROR);
    }

    pub(crate) fn end(&mut self, at: SystemTime) {
        fixed64(&mut self.0, span::END, nanoseconds(at));
    }

    /// Shows all of it, and keeps the room for another.
    pub(crate) fn give(self, show: impl FnOnce(&[u8])) {
        let Self(mut out) = self;
        show(&out);
        if out.capacity() <= LARGEST {
            out.clear();
            // Of a thread that ends it is not needed.
            let _ = ROOM.try_with(|room| {
                let mut room = room.borrow_mut();
                if room.len() < SPARE {
                    room.push(out);
                }
            });
        }
    }
}

fn flags(context: TraceContext, remote: bool) -> u32 {
    REMOTE_IS_KNOWN | if remote { IS_REMOTE } else { 0 } | u32::from(context.is_sampled())
}

fn number(kind: &SpanKind) -> u64 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

/// Since 1970.
fn nanoseconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// How long a field of so many bytes is with its key, which has one byte, and its length.
fn length_of(bytes: usize) -> usize {
    1 + encoded_len_varint(bytes as u64) + bytes
}

/// Begins a field that has so many bytes.
fn begin(out: &mut Vec<u8>, field: u32, length: usize) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
}

fn bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    begin(out, field, bytes.len());
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, field: u32, value: u64) {
    encode_key(field, WireType::Varint, out);
    encode_varint(value, out);
}

fn fixed32(out: &mut Vec<u8>, field: u32, value: u32) {
    encode_key(field, WireType::ThirtyTwoBit, out);
    out.extend_from_slice(&value.to_le_bytes());
}

fn fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    encode_key(field, WireType::SixtyFourBit, out);
    out.extend_from_slice(&value.to_le_bytes());
}
