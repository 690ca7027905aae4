//! Spans: the way of one event from the call that appended it to the rows that it became, in one trace.
//!
//! What happens to an event happens in batches, in processes that know nothing of each other. So each event that is traced has
//! spans of its own in the trace of its append, whose context goes along with it, in its metadata and in its message; and a
//! batch has one, in a trace of its own, which links to those of its events and they to it. Spans hold ids, names and numbers,
//! never what an event says.
//!
//! Nothing is exported here. A program that does so says so ([`turn_on`]); in any other a span is nothing, and costs a look at
//! a flag. Where it is something, it is bytes from the beginning: what is said of it is written as it is sent, once.

#![deny(missing_docs)]

mod current;
pub mod names;
mod otlp;
mod span;

use std::fmt;
use std::sync::OnceLock;

pub use current::{current, scope};
pub use opentelemetry::trace::SpanKind;
pub use otlp::Words;
pub use span::{Begin, Span, span, within};

/// Who takes the spans that have ended.
pub trait Keeper: fmt::Debug + Send + Sync {
    /// A `Span` of OTLP, in protobuf. It must not wait.
    fn keep(&self, span: &[u8]);
}

#[derive(Debug)]
struct Tracer {
    /// Which of the traces that nobody has decided about are kept: those whose ids are below it.
    below: u64,
    keeper: Box<dyn Keeper>,
}

static TRACER: OnceLock<Tracer> = OnceLock::new();

impl Tracer {
    fn get() -> Option<&'static Self> {
        TRACER.get()
    }

    fn new(share: f64, keeper: Box<dyn Keeper>) -> Self {
        // A share of 1 is the largest number there is, and stands for all.
        Self { below: (share * u64::MAX as f64) as u64, keeper }
    }

    fn chance_has(&self, trace_id: u128) -> bool {
        self.below == u64::MAX || (trace_id as u64) < self.below
    }
}

/// From now on there are spans, and `keeper` takes them: all of traces that somebody else has decided to keep, and this `share` of
/// others, from 0 to 1. The first to say so is the one.
pub fn turn_on(share: f64, keeper: impl Keeper + 'static) {
    TRACER.get_or_init(|| Tracer::new(share, Box::new(keeper)));
}

/// Whether anybody wants spans.
pub fn are_on() -> bool {
    Tracer::get().is_some()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use events::TraceContext;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::trace::v1 as otlp;
    use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
    use prost::Message;
    use uuid::Uuid;

    use super::*;

    #[derive(Debug, Clone, Default)]
    struct Kept(Arc<Mutex<Vec<otlp::Span>>>);

    impl Keeper for Kept {
        fn keep(&self, span: &[u8]) {
            let span = otlp::Span::decode(span).expect("it is one");
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(span);
        }
    }

    fn other(sampled: bool) -> TraceContext {
        let flags = if sampled { "01" } else { "00" };
        TraceContext::parse(&format!("00-{:032x}-{:016x}-{flags}", 7, 7)).expect("it is one")
    }

    /// One test, because it is one tracer.
    #[test]
    fn whoever_brings_a_trace_has_decided_and_else_it_is_a_link_a_wish_or_chance() {
        let kept = Kept::default();
        assert!(!are_on() && span(names::APPEND_BATCH, SpanKind::Client).begin().context().is_none());
        turn_on(0.0, kept.clone());
        let begin = |parent, link: Option<bool>, always| {
            let begin = span(names::APPEND_BATCH, SpanKind::Client).child_of(parent).always(always);
            begin.linked(link.map(other)).begin().context()
        };
        for (parent, link, always, expected) in [
            (Some(true), None, false, true),
            (Some(false), Some(true), true, false),
            (None, Some(true), false, true),
            (None, Some(false), false, false),
            (None, None, true, true),
            (None, None, false, false),
        ] {
            let context = begin(parent.map(other), link, always);
            assert_eq!(context.is_some(), expected, "{parent:?} {link:?} {always}");
        }
        let taken = || std::mem::take(&mut *kept.0.lock().unwrap_or_else(PoisonError::into_inner));
        let before = taken();
        assert_eq!(before.len(), 3, "what is none is kept by nobody");
        // A trace that it links to, which another process has begun, is in it; what it is within is not.
        let linked =
            before.iter().find(|span| span.links.len() == 1 && span.parent_span_id.is_empty()).expect("one has a link");
        assert_eq!((linked.flags, linked.links[0].flags), (0x101, 0x301));
        assert_eq!(
            (&*linked.links[0].trace_id, &*linked.links[0].span_id),
            (&7_u128.to_be_bytes()[..], &7_u64.to_be_bytes()[..])
        );

        let long = "ä".repeat(20_000);
        let id = Uuid::from_u128(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        let links = (0..300).map(|_| other(true));
        let parent = Some(other(true));
        let mut span = within(parent, || names::apply("orders"), SpanKind::Consumer).linked(links).begin();
        span.say(|words| words.text("text", &long));
        span.say(|words| {
            words.number("number", -3);
            words.number("most", i64::MAX);
            words.flag("flag", true);
            words.flag("no", false);
            words.id("id", id);
            words.text("", "");
        });
        span.fail("parked", "first said");
        span.fail("refused", "it does not fit");
        let context = span.context().expect("it is kept");
        drop(span);
        let span = taken().pop().expect("the last");
        assert_eq!(span.trace_id, context.trace_id().to_be_bytes());
        assert_eq!(span.span_id, context.span_id().to_be_bytes());
        assert_eq!(span.parent_span_id, 7_u64.to_be_bytes());
        assert_eq!((&*span.name, span.flags, span.kind()), ("apply orders", 0x301, otlp::span::SpanKind::Consumer));
        assert_eq!((span.links.len(), span.dropped_links_count), (128, 172));
        let status = span.status.expect("it failed");
        assert_eq!((&*status.message, status.code()), ("it does not fit", StatusCode::Error));
        assert!(span.start_time_unix_nano > 0 && span.start_time_unix_nano <= span.end_time_unix_nano);
        let value = |value| Some(value);
        let text = |text: &str| value(Value::StringValue(text.to_owned()));
        let said = span.attributes.into_iter().map(|said| (said.key, said.value.and_then(|value| value.value)));
        let expected = [
            ("text", text(&long)),
            ("number", value(Value::IntValue(-3))),
            ("most", value(Value::IntValue(i64::MAX))),
            ("flag", value(Value::BoolValue(true))),
            ("no", value(Value::BoolValue(false))),
            ("id", text("0af76519-16cd-43dd-8448-eb211c80319c")),
            ("", text("")),
            (names::ERROR_TYPE, text("refused")),
        ];
        assert_eq!(said.collect::<Vec<_>>(), expected.map(|(key, value)| (key.to_owned(), value)));
    }

    #[test]
    fn chance_has_none_all_or_its_share() {
        let of = |share| Tracer::new(share, Box::new(Kept::default()));
        let (none, half, all) = (of(0.0), of(0.5), of(1.0));
        for (id, of_half) in [(0, true), (u128::from(u64::MAX / 4), true), (u128::from(u64::MAX), false)] {
            assert!(!none.chance_has(id) && all.chance_has(id), "{id}");
            assert_eq!(half.chance_has(id), of_half, "{id}");
        }
    }
}
