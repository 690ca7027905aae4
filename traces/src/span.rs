//! A span that may be none.

use std::borrow::Cow;
use std::time::SystemTime;

use events::TraceContext;
use opentelemetry::trace::SpanKind;

use crate::names::{self, Name};
use crate::{Tracer, Words};

/// Links of one at most, as OpenTelemetry has it. How many there were besides is said.
const LINKS: u32 = 128;

/// A span that has begun, or none: what is said of that is lost. It ends when it is dropped.
#[derive(Debug, Default)]
pub struct Span(Option<Begun>);

#[derive(Debug)]
struct Begun {
    this: TraceContext,
    words: Words,
    links: u32,
    /// Of which kind the failure was, and what it was.
    failed: Option<(&'static str, Cow<'static, str>)>,
}

impl Begun {
    fn link(&mut self, other: TraceContext) {
        if self.links < LINKS {
            self.words.link(other);
        }
        self.links = self.links.saturating_add(1);
    }

    fn end(mut self) -> Words {
        if let Some((kind, what)) = self.failed {
            self.words.text(names::ERROR_TYPE, kind);
            self.words.failed(&what);
        }
        if self.links > LINKS {
            self.words.links_left_out(self.links - LINKS);
        }
        self.words.end(SystemTime::now());
        self.words
    }
}

impl Span {
    /// What goes along with the work, so that others go on with the trace. `None` if it is not kept.
    pub fn context(&self) -> Option<TraceContext> {
        self.0.as_ref().map(|begun| begun.this)
    }

    /// Whether there is one, so that it is worth finding out what could be said of it.
    pub fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Says more of it, if there is one.
    pub fn say(&mut self, say: impl FnOnce(&mut Words)) {
        if let Some(begun) = &mut self.0 {
            say(&mut begun.words);
        }
    }

    /// A span of another trace that it has to do with, as it turns out.
    pub fn link(&mut self, other: Option<TraceContext>) {
        if let Some(begun) = &mut self.0 {
            other.into_iter().for_each(|other| begun.link(other));
        }
    }

    /// It did not succeed. `kind` is one of few; `what` has no data of anybody in it.
    pub fn fail(&mut self, kind: &'static str, what: impl Into<Cow<'static, str>>) {
        if let Some(begun) = &mut self.0 {
            begun.failed = Some((kind, what.into()));
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let (Some(begun), Some(tracer)) = (self.0.take(), Tracer::get()) {
            begun.end().give(|span| tracer.keeper.keep(span));
        }
    }
}

/// A span that is about to begin, or none.
#[derive(Debug)]
#[must_use = "it has not begun"]
pub struct Begin(Option<Beginning>);

#[derive(Debug)]
struct Beginning {
    tracer: &'static Tracer,
    name: Name,
    kind: SpanKind,
    parent: Option<TraceContext>,
    always: bool,
    at: Option<SystemTime>,
    links: Vec<TraceContext>,
}

/// A span without a parent. It is kept if one of the traces that it links to is, or if chance has it.
pub fn span(name: Name, kind: SpanKind) -> Begin {
    let begin = |tracer| Beginning { tracer, name, kind, parent: None, always: false, at: None, links: Vec::new() };
    Begin(Tracer::get().map(begin))
}

/// A span within a trace that is kept; none if it is not, or if there is no trace.
pub fn within(trace: Option<TraceContext>, name: impl FnOnce() -> Name, kind: SpanKind) -> Begin {
    match trace.filter(|trace| trace.is_sampled() && crate::are_on()) {
        Some(trace) => span(name(), kind).child_of(Some(trace)),
        None => Begin(None),
    }
}

impl Begin {
    fn and(mut self, change: impl FnOnce(&mut Beginning)) -> Self {
        self.0.as_mut().map(change);
        self
    }

    /// Its parent, if there is one, which has decided whether it is kept.
    pub fn child_of(self, parent: Option<TraceContext>) -> Self {
        self.and(|it| it.parent = parent)
    }

    /// It is kept, unless its parent has decided otherwise.
    pub fn always(self, always: bool) -> Self {
        self.and(|it| it.always = always)
    }

    /// Spans of other traces that it has to do with.
    pub fn linked(self, others: impl IntoIterator<Item = TraceContext>) -> Self {
        self.and(|it| it.links.extend(others))
    }

    /// When it began, if not now.
    pub fn at(self, time: SystemTime) -> Self {
        self.and(|it| it.at = Some(time))
    }

    /// Begins it.
    pub fn begin(self) -> Span {
        Span(self.0.and_then(Beginning::begin))
    }
}

impl Beginning {
    fn begin(self) -> Option<Begun> {
        let trace_id = self.parent.map_or_else(rand::random, TraceContext::trace_id);
        let kept = match self.parent {
            Some(parent) => parent.is_sampled(),
            None => self.always || self.links.iter().any(|link| link.is_sampled()) || self.tracer.chance_has(trace_id),
        };
        let this = TraceContext::sampled(trace_id, rand::random_range(1..=u64::MAX)).filter(|_| kept)?;
        let mut words = Words::begin(this, self.parent, &self.name, &self.kind);
        words.begun(self.at.unwrap_or_else(SystemTime::now));
        let mut begun = Begun { this, words, links: 0, failed: None };
        self.links.into_iter().for_each(|other| begun.link(other));
        Some(begun)
    }
}
