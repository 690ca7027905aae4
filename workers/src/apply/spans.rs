//! What became of the events of a transaction: a span of each in its own trace, and one of them all, linked with each other. They
//! are told when it is committed: before, nothing has become of them.

use std::borrow::Cow;
use std::time::SystemTime;

use events::TraceContext;
use traces::{SpanKind, Words, names};

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
    event: Event,
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
            events.push(Told { trace, event: event.clone(), became });
        }
    }

    /// It is committed.
    pub fn tell(self, applier: &Applier, fence: Fence) {
        let Some(events) = self.events.filter(|events| !events.is_empty()) else { return };
        let projection = applier.projection.name();
        let here = |words: &mut Words| {
            names::of_generation(words, projection, fence.generation);
            words.text(names::MODE, self.mode.as_str());
        };
        let others = self.because_of.into_iter().chain(events.iter().map(|event| event.trace));
        let mut batch = traces::span(names::APPLY_BATCH, SpanKind::Client).at(self.began).linked(others).begin();
        batch.say(|words| {
            here(words);
            words.number(names::BATCH_EVENTS, events.len() as i64);
        });
        let link = batch.context();
        for Told { trace, event, became } in events {
            let name = || names::apply(projection);
            let span = traces::within(Some(trace), name, SpanKind::Internal).at(self.began);
            let mut span = span.begin();
            span.link(link);
            span.link(self.because_of);
            span.say(|words| {
                names::of_event(words, &event);
                here(words);
                words.text(names::RESULT, became.name());
            });
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
