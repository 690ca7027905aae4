//! A span that may be none.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use events::TraceContext;
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;

use crate::Tracer;
use crate::names::Name;

/// A span that has begun, or none: what is said of that is lost. It ends when it is dropped.
#[derive(Debug, Default)]
pub struct Span(Option<Box<Told>>);

/// What there is to tell of a span that has ended.
#[derive(Debug)]
pub struct Told {
    /// The trace that it is in.
    pub trace_id: u128,
    /// Its own id.
    pub span_id: u64,
    /// The span that it is within, which may be another process's.
    pub parent: Option<u64>,
    /// What it is called.
    pub name: Name,
    /// Whose part of the work it is.
    pub kind: SpanKind,
    /// From when.
    pub begun: SystemTime,
    /// Until when.
    pub ended: SystemTime,
    /// Spans of other traces that it has to do with.
    pub links: Vec<TraceContext>,
    /// Of which kind the failure was, and what it was; `None`: there was none.
    pub failed: Option<(&'static str, Cow<'static, str>)>,
    said: Vec<Said>,
}

/// It is put into words by whoever exports it: words cost more than the rest of a span, and the work does not wait for them.
struct Said(Box<dyn FnOnce() -> Vec<KeyValue> + Send + Sync>);

impl fmt::Debug for Said {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Said")
    }
}

impl Told {
    /// All that was said of it, in this order.
    pub fn said(&mut self) -> impl Iterator<Item = KeyValue> + use<> {
        std::mem::take(&mut self.said).into_iter().flat_map(|Said(words)| words())
    }
}

impl Span {
    /// What goes along with the work, so that others go on with the trace. `None` if it is not kept.
    pub fn context(&self) -> Option<TraceContext> {
        let told = self.0.as_ref()?;
        TraceContext::sampled(told.trace_id, told.span_id)
    }

    /// Whether there is one, so that it is worth finding out what could be said of it.
    pub fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Says more of it, in words that are found later, elsewhere, and only if somebody wants them.
    pub fn say(&mut self, words: impl FnOnce() -> Vec<KeyValue> + Send + Sync + 'static) {
        if let Some(told) = &mut self.0 {
            told.said.push(Said(Box::new(words)));
        }
    }

    /// A span of another trace that it has to do with, as it turns out.
    pub fn link(&mut self, other: Option<TraceContext>) {
        if let Some(told) = &mut self.0 {
            told.links.extend(other);
        }
    }

    /// It did not succeed. `kind` is one of few; `what` has no data of anybody in it.
    pub fn fail(&mut self, kind: &'static str, what: impl Into<Cow<'static, str>>) {
        if let Some(told) = &mut self.0 {
            told.failed = Some((kind, what.into()));
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let (Some(mut told), Some(tracer)) = (self.0.take(), Tracer::get()) {
            told.ended = SystemTime::now();
            tracer.keeper.keep(told);
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
    said: Vec<Said>,
}

/// A span without a parent. It is kept if one of the traces that it links to is, or if chance has it.
pub fn span(name: Name, kind: SpanKind) -> Begin {
    let begin = |tracer| Beginning {
        tracer,
        name,
        kind,
        parent: None,
        always: false,
        at: None,
        links: Vec::new(),
        said: Vec::new(),
    };
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

    /// What it is about, as [`Span::say`].
    pub fn with(self, words: impl FnOnce() -> Vec<KeyValue> + Send + Sync + 'static) -> Self {
        self.and(|it| it.said.push(Said(Box::new(words))))
    }

    /// Begins it.
    pub fn begin(self) -> Span {
        Span(self.0.and_then(Beginning::begin))
    }
}

impl Beginning {
    fn begin(self) -> Option<Box<Told>> {
        let trace_id = self.parent.map_or_else(rand::random, TraceContext::trace_id);
        let kept = match self.parent {
            Some(parent) => parent.is_sampled(),
            None => self.always || self.links.iter().any(|link| link.is_sampled()) || self.tracer.chance_has(trace_id),
        };
        let begun = self.at.unwrap_or_else(SystemTime::now);
        kept.then(|| {
            Box::new(Told {
                trace_id,
                span_id: rand::random_range(1..=u64::MAX),
                parent: self.parent.map(TraceContext::span_id),
                name: self.name,
                kind: self.kind,
                begun,
                ended: begun,
                links: self.links,
                failed: None,
                said: self.said,
            })
        })
    }
}
