//! Spans: the way of one event from the call that appended it to the rows that it became, in one trace.
//!
//! What happens to an event happens in batches, in processes that know nothing of each other. So each event that is traced has
//! spans of its own in the trace of its append, whose context goes along with it, in its metadata and in its message; and a
//! batch has one, in a trace of its own, which links to those of its events and they to it. Spans hold ids, names and numbers,
//! never what an event says.
//!
//! Nothing is exported here. A program that does so says so ([`turn_on`]); in any other a span is nothing, and costs a look at
//! a flag. Where it is something, it costs little to whoever begins and ends it: what is said of it is put into words by the one
//! who exports it.

#![deny(missing_docs)]

mod current;
pub mod names;
mod span;

use std::fmt;
use std::sync::OnceLock;

pub use current::{current, scope};
pub use opentelemetry::KeyValue;
pub use opentelemetry::trace::SpanKind;
pub use span::{Begin, Span, Told, span, within};

/// Who takes the spans that have ended.
pub trait Keeper: fmt::Debug + Send + Sync {
    /// It must not wait.
    fn keep(&self, told: Box<Told>);
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

    use super::*;

    #[derive(Debug, Clone, Default)]
    struct Kept(Arc<Mutex<Vec<Told>>>);

    impl Keeper for Kept {
        fn keep(&self, told: Box<Told>) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(*told);
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
        let mut span = within(Some(other(true)), || names::apply("orders"), SpanKind::Internal)
            .with(|| vec![KeyValue::new("first", 1)])
            .begin();
        span.say(|| vec![KeyValue::new("second", 2), KeyValue::new("third", 3)]);
        span.fail("parked", "it does not fit");
        drop(span);
        let mut kept = std::mem::take(&mut *kept.0.lock().unwrap_or_else(PoisonError::into_inner));
        assert_eq!(kept.len(), 4, "what is none is kept by nobody");
        let mut told = kept.pop().expect("the last");
        assert_eq!((told.trace_id, told.parent, told.name.to_string()), (7, Some(7), "apply orders".to_owned()));
        assert_eq!(told.said().map(|said| said.key.to_string()).collect::<Vec<_>>(), ["first", "second", "third"]);
        assert!(told.failed.is_some() && told.begun <= told.ended && told.span_id != 0);
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
