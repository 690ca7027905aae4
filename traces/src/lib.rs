//! Spans: the way of one event from the call that appended it to the rows that it became, in one trace.
//!
//! What happens to an event happens in batches, in processes that know nothing of each other. So each event that is traced has
//! spans of its own in the trace of its append, whose context goes along with it, in its metadata and in its message; and a
//! batch has one, in a trace of its own, which links to those of its events and they to it. Spans hold ids, names and numbers,
//! never what an event says.
//!
//! Nothing is exported here. A program that does so says so ([`turn_on`]); in any other a span is nothing, and costs a look at
//! a flag.

#![deny(missing_docs)]

mod current;
pub mod names;
mod span;

use std::sync::OnceLock;

use events::TraceContext;
use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::trace::{SpanContext, TraceFlags, TraceState};

pub use current::{current, scope};
pub use opentelemetry::KeyValue;
pub use opentelemetry::trace::SpanKind;
pub use span::{Begin, Span, span, within};

static TRACER: OnceLock<BoxedTracer> = OnceLock::new();

/// From now on spans are begun with the global provider of OpenTelemetry, which must have been set.
pub fn turn_on() {
    TRACER.get_or_init(|| global::tracer(names::SCOPE));
}

/// Whether anybody wants spans.
pub fn are_on() -> bool {
    TRACER.get().is_some()
}

/// As OpenTelemetry has it. It came from elsewhere.
fn remote(context: TraceContext) -> SpanContext {
    let flags = if context.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    SpanContext::new(context.trace_id().into(), context.span_id().into(), flags, true, TraceState::NONE)
}
