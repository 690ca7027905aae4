//! What became of the events of a transaction: a span of each in its own trace, and one of them all, linked with each other. They
//! are told when it is committed: before, nothing has become of them.

use std::borrow::Cow;
use std::time::SystemTime;

use events::TraceContext;
use traces::{KeyValue, SpanKind, names};

use super::{Applier, Mode};
use crate::dead_letters::park::Reason;
use crate::fence::Fence;
use crate::verdict::Event;

/// What became of the events of one transaction, of those whose traces are kept.
#[derive(Debug)]
pub(super) struct Spans {
    began: SystemTime,
    mode: Mode,
    events: Option<Vec<Told>>,
    /// Of what a person asked for.
    because_of: Option<TraceContext>,
}

#[derive(Debug)]
struct Told {
    trace: TraceContext,
    event: names::Event,
    became: Became,
}

/// What an event can become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Became {
    Applied,
    Skipped,
    Parked(Reason),
}

impl Spans {
    /// Of a transaction that begins now.
    pub fn begin(mode: Mode) -> Self {
        Self { began: SystemTime::now(), mode, events: traces::are_on().then(Vec::new), because_of: None }
    }

    /// Of a transaction in which nobody looks for single events: there are too many.
    pub fn none(mode: Mode) -> Self {
        Self { began: SystemTime::now(), mode, events: None, because_of: None }
    }

    /// The trace of whoever asked for it, which is another than those of the events.
    pub fn because_of(&mut self, trace: Option<TraceContext>) {
        self.because_of = trace;
    }

    pub fn note(&mut self, event: &Event, became: Became) {
        if let Some(events) = &mut self.events
            && let Some(trace) = event.trace().filter(|trace| trace.is_sampled())
        {
            events.push(Told { trace, event: names::Event::of(event), became });
        }
    }

    /// It is committed.
    pub fn tell(self, applier: &Applier, fence: Fence) {
        let Some(events) = self.events.filter(|events| !events.is_empty()) else { return };
        let projection = applier.projection.name();
        let (generation, mode) = (i64::from(fence.generation), self.mode.as_str());
        let here = move || {
            [
                KeyValue::new(names::PROJECTION, projection),
                KeyValue::new(names::GENERATION, generation),
                KeyValue::new(names::MODE, mode),
            ]
        };
        let count = events.len() as i64;
        let of_batch = move || {
            let events = KeyValue::new(names::BATCH_EVENTS, count);
            here().into_iter().chain([events]).collect()
        };
        let batch = traces::span(names::APPLY_BATCH, SpanKind::Client).at(self.began);
        let batch = batch
            .linked(self.because_of.into_iter().chain(events.iter().map(|event| event.trace)))
            .with(of_batch)
            .begin();
        let link = batch.context();
        for Told { trace, event, became } in events {
            let name = || names::apply(projection);
            let span = traces::within(Some(trace), name, SpanKind::Internal).at(self.began);
            let span = span.linked(link.into_iter().chain(self.because_of));
            let result = move || KeyValue::new(names::RESULT, became.name());
            let said = move || event.said().into_iter().chain(here()).chain([result()]).collect();
            let mut span = span.with(said).begin();
            if let Became::Parked(reason) = became {
                span.fail(reason.as_str(), Cow::Borrowed("parked"));
            }
        }
    }
}

impl Became {
    fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Skipped => "skipped",
            Self::Parked(_) => "parked",
        }
    }
}
