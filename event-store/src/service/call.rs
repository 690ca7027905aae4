//! The span of a call that appends.

use events::TraceContext;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use traces::{Span, SpanKind, names};

use super::{invalid, request};
use crate::append::{Append, Appended, WrittenIn};
use crate::proto::AppendEventsRequest;

/// A call that has begun.
#[derive(Debug)]
pub(super) struct Call {
    span: Span,
    /// What the caller says.
    caller: Option<TraceContext>,
    written_in: WrittenIn,
}

/// In which trace calls are: one request is one call, and so is each of a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Calls {
    method: names::Call,
    caller: Option<TraceContext>,
}

impl Calls {
    pub fn of(method: names::Call, metadata: &MetadataMap) -> Self {
        Self { method, caller: request::trace(metadata) }
    }

    pub fn begin(self) -> Call {
        let Self { method, caller } = self;
        let span = if traces::are_on() {
            let mut span = traces::span(names::call(method), SpanKind::Server).child_of(caller).begin();
            span.say(|words| names::of_call(words, method));
            span
        } else {
            Span::default()
        };
        let written_in = if span.is_kept() { WrittenIn::asked() } else { WrittenIn::default() };
        Call { span, caller, written_in }
    }
}

impl Call {
    /// What it asks for. The trace that goes into the metadata of its events is this call, if it is kept, or else what the
    /// caller says.
    pub fn append(&self, request: AppendEventsRequest) -> Result<Append, Status> {
        let append = request::append(request, self.span.context().or(self.caller));
        let mut append = append.map_err(|violations| invalid(&violations))?;
        append.written_in = self.written_in.clone();
        Ok(append)
    }

    pub fn end(mut self, answer: &Result<Vec<Appended>, Status>) {
        let (code, events) = match answer {
            Ok(appended) => (Code::Ok, appended.len()),
            Err(status) => (status.code(), 0),
        };
        self.span.link(self.written_in.get());
        let first = answer.iter().flatten().next().copied();
        self.span.say(|words| {
            words.number(names::RPC_STATUS, i64::from(code as i32));
            words.number(names::BATCH_EVENTS, i64::try_from(events).unwrap_or(i64::MAX));
            if let Some(first) = first {
                words.id(names::EVENT_ID, first.event_id.0);
                words.number(names::EVENT_VERSION, first.version.0.into());
                words.number(names::POSITION, first.position.0);
            }
        });
        // What the caller did wrong is the caller's error, not ours.
        if matches!(
            code,
            Code::Unavailable | Code::Internal | Code::DataLoss | Code::FailedPrecondition | Code::Unknown
        ) {
            self.span.fail(code.description(), "");
        }
    }
}
