//! Appends in one commit: a span of them all, in a trace of its own. It links to their calls, and they to it.

use std::sync::{Arc, OnceLock};

use events::TraceContext;
use traces::{Span, SpanKind, names};

use super::Append;

/// The span of the batch in which a request was written. The call asks for it before, and has it after; whoever does not ask
/// pays nothing.
#[derive(Debug, Clone, Default)]
pub struct WrittenIn(Option<Arc<OnceLock<TraceContext>>>);

impl WrittenIn {
    pub fn asked() -> Self {
        Self(Some(Arc::default()))
    }

    /// `None` if it was not written, or if nobody asked.
    pub fn get(&self) -> Option<TraceContext> {
        self.0.as_ref()?.get().copied()
    }

    /// What was written before, and is only answered again, stays with the batch that was first.
    fn set(&self, batch: TraceContext) {
        if let Some(asked) = &self.0 {
            asked.get_or_init(|| batch);
        }
    }
}

/// Of the requests whose calls are traced, as far as those are kept. It ends when it is dropped.
pub(super) fn batch<'a>(appends: impl Iterator<Item = &'a Append>) -> Span {
    if !traces::are_on() {
        return Span::default();
    }
    let kept = |append: &'a Append| Some((append.trace.filter(|trace| trace.is_sampled())?, append));
    let (calls, appends): (Vec<_>, Vec<_>) = appends.filter_map(kept).unzip();
    if calls.is_empty() {
        return Span::default();
    }
    let requests = calls.len() as i64;
    let mut batch = traces::span(names::APPEND_BATCH, SpanKind::Client).linked(calls).begin();
    batch.say(|words| words.number(names::BATCH_REQUESTS, requests));
    if let Some(context) = batch.context() {
        appends.iter().for_each(|append| append.written_in.set(context));
    }
    batch
}
