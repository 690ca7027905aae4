//! A span that may be none.

use std::borrow::Cow;
use std::time::SystemTime;

use events::TraceContext;
use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::{Link, Span as _, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};

use crate::{TRACER, names, remote};

/// A span that has begun, or none: what is said of that is lost. It ends when it is dropped.
#[derive(Debug, Default)]
pub struct Span(Option<BoxedSpan>);

impl Span {
    /// What goes along with the work, so that others go on with the trace. `None` if it is not kept.
    pub fn context(&self) -> Option<TraceContext> {
        let context = self.0.as_ref()?.span_context();
        let trace_id = u128::from_be_bytes(context.trace_id().to_bytes());
        let span_id = u64::from_be_bytes(context.span_id().to_bytes());
        TraceContext::sampled(trace_id, span_id).filter(|_| context.is_sampled())
    }

    /// Says more of it.
    pub fn say(&mut self, attributes: impl IntoIterator<Item = KeyValue>) {
        if let Some(span) = &mut self.0 {
            span.set_attributes(attributes);
        }
    }

    /// It did not succeed. `kind` is one of few; `what` has no data of anybody in it.
    pub fn fail(&mut self, kind: &'static str, what: impl Into<Cow<'static, str>>) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(names::ERROR_TYPE, kind));
            span.set_status(Status::error(what));
        }
    }
}

/// A span that is about to begin, or none.
#[derive(Debug)]
#[must_use = "it has not begun"]
pub struct Begin(Option<(SpanBuilder, Context)>);

/// A span without a parent. Whether it is kept, the sampler says: one of the traces that it links to is kept, or chance has it.
pub fn span(name: impl Into<Cow<'static, str>>, kind: SpanKind) -> Begin {
    Begin(crate::are_on().then(|| (SpanBuilder::from_name(name).with_kind(kind), Context::new())))
}

/// A span within a trace that is kept; none if it is not, or if there is no trace.
pub fn within(trace: Option<TraceContext>, name: impl FnOnce() -> Cow<'static, str>, kind: SpanKind) -> Begin {
    match trace.filter(|trace| trace.is_sampled() && crate::are_on()) {
        Some(trace) => span(name(), kind).child_of(Some(trace)),
        None => Begin(None),
    }
}

impl Begin {
    /// Its parent, if there is one.
    pub fn child_of(mut self, parent: Option<TraceContext>) -> Self {
        if let (Some((_, context)), Some(parent)) = (&mut self.0, parent) {
            *context = Context::new().with_remote_span_context(remote(parent));
        }
        self
    }

    /// Spans of other traces that it has to do with.
    pub fn linked(mut self, others: impl IntoIterator<Item = TraceContext>) -> Self {
        self.0 = self.0.map(|(builder, context)| {
            let links = others.into_iter().map(|other| Link::with_context(remote(other))).collect();
            (builder.with_links(links), context)
        });
        self
    }

    /// When it began, if not now.
    pub fn at(mut self, time: SystemTime) -> Self {
        self.0 = self.0.map(|(builder, context)| (builder.with_start_time(time), context));
        self
    }

    /// What it is about.
    pub fn with(mut self, attributes: impl FnOnce() -> Vec<KeyValue>) -> Self {
        self.0 = self.0.map(|(builder, context)| (builder.with_attributes(attributes()), context));
        self
    }

    /// Begins it.
    pub fn begin(self) -> Span {
        let begun = |(builder, context)| TRACER.get().map(|tracer| tracer.build_with_context(builder, &context));
        Span(self.0.and_then(begun))
    }
}
