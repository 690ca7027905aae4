//! Appends in one commit: a span of each in its own trace, and one of them all, linked with each other.

use events::TraceContext;
use traces::{KeyValue, Span, SpanKind, names};

/// They end when they are dropped.
#[derive(Debug, Default)]
pub(super) struct Spans {
    _batch: Span,
    _writes: Vec<Span>,
}

impl Spans {
    /// Of the calls with these traces, as far as they are kept. What is not waits as long, and nobody sees it.
    pub fn of(calls: impl Iterator<Item = TraceContext>) -> Self {
        if !traces::are_on() {
            return Self::default();
        }
        let calls: Vec<_> = calls.filter(|call| call.is_sampled()).collect();
        if calls.is_empty() {
            return Self::default();
        }
        let requests = || vec![KeyValue::new(names::BATCH_REQUESTS, calls.len() as i64)];
        let batch = traces::span(names::APPEND_BATCH, SpanKind::Client).linked(calls.iter().copied());
        let batch = batch.with(requests).begin();
        let link = batch.context();
        let write = |&call| traces::within(Some(call), || names::WRITE.into(), SpanKind::Internal).linked(link).begin();
        let writes = calls.iter().map(write).collect();
        Self { _batch: batch, _writes: writes }
    }
}
