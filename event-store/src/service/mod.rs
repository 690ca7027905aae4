//! gRPC: the protocol's types in, the crate's types out, and back.

pub mod access;
mod call;
mod request;
mod stream;

pub use request::timestamp;

use std::pin::Pin;

use database::Primary;
use events::{Payload, Recorded, Version};
use futures::{Stream, StreamExt, TryStreamExt};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};
use traces::names;

use crate::append::{self, Appended, Appender};
use crate::proto::event_store_server::{EventStore, EventStoreServer};
use crate::proto::{
    self, AppendEventStreamResponse, AppendEventsRequest, AppendEventsResponse, GetHeadRequest, GetHeadResponse,
    GetSnapshotRequest, GetSnapshotResponse, ReadAggregateRequest, ReadAllRequest, RecordedEvent, SaveSnapshotRequest,
    SaveSnapshotResponse, append_event_stream_response::Outcome,
};
use crate::read::Unreadable;
use crate::tail::Head;
use crate::validate::{self, Violation, Violations};
use crate::{Metrics, read, snapshot};
use call::Calls;
use stream::Reader;

/// The domain of gRPC error details.
pub const DOMAIN: &str = "fleet.eventstore.v1";

/// Appends of one stream that are in the writer's queue together.
const IN_FLIGHT: usize = 1024;

pub struct Service {
    pub appender: Appender,
    pub pool: PgPool,
    /// While there is none, nothing is read: it may be old.
    pub primary: Primary,
    pub head: Head,
    pub metrics: Metrics,
    /// Ends the streams that would go on for ever, so that the server can stop.
    pub stop: CancellationToken,
}

impl Service {
    pub fn into_server(self) -> EventStoreServer<Self> {
        // A little above our own limit, so that our answer, which names the field, is the one that is seen. It holds for what
        // a compressed request becomes, too: no more of it is unpacked.
        EventStoreServer::new(self).max_decoding_message_size(validate::MAX_REQUEST_BYTES * 9 / 8)
    }

    fn reader(&self) -> Result<Reader, Status> {
        Ok(Reader { pool: self.readable()?.clone(), metrics: self.metrics.clone() })
    }

    /// The pool for reading, unless what it shows may be old.
    fn readable(&self) -> Result<&PgPool, Status> {
        match self.primary.refusal() {
            Some(reason) => Err(Status::unavailable(reason)),
            None => Ok(&self.pool),
        }
    }
}

type Events = Pin<Box<dyn Stream<Item = Result<RecordedEvent, Status>> + Send>>;

#[tonic::async_trait]
impl EventStore for Service {
    async fn append_events(
        &self,
        request: Request<AppendEventsRequest>,
    ) -> Result<Response<AppendEventsResponse>, Status> {
        let call = Calls::of(names::APPEND, request.metadata()).begin();
        let appended = match call.append(request.into_inner()) {
            Ok(append) => self.appender.append(append).await.map_err(Status::from),
            Err(status) => Err(status),
        };
        call.end(&appended);
        appended.map(response).map(Response::new)
    }

    type AppendEventStreamStream = Pin<Box<dyn Stream<Item = Result<AppendEventStreamResponse, Status>> + Send>>;

    async fn append_event_stream(
        &self,
        request: Request<Streaming<AppendEventsRequest>>,
    ) -> Result<Response<Self::AppendEventStreamStream>, Status> {
        let calls = Calls::of(names::APPEND_IN_A_STREAM, request.metadata());
        let appender = self.appender.clone();
        // `then` queues one request after the other; only the waiting for their answers overlaps.
        // A stopping store takes no further requests and answers those it has.
        let requests = request.into_inner().take_until(self.stop.clone().cancelled_owned());
        let answers = requests.then(move |message| {
            let appender = appender.clone();
            async move {
                let (message, call) = (message?, calls.begin());
                let queued = match call.append(message) {
                    Ok(append) => Ok(appender.enqueue(append).await?),
                    Err(status) => Err(status),
                };
                Ok::<_, Status>((call, queued))
            }
        });
        let outcomes = answers
            .map_ok(|(call, queued)| async move {
                let outcome = match queued {
                    Err(status) => Err(status),
                    Ok(answer) => match answer.await {
                        Ok(Ok(appended)) => Ok(appended),
                        Ok(Err(error)) => Err(error.into()),
                        Err(_) => Err(Status::unavailable("this event store is shutting down")),
                    },
                };
                call.end(&outcome);
                outcome.map(response).map_or_else(refusal, |response| Ok(Outcome::Appended(response)))
            })
            .try_buffered(IN_FLIGHT)
            .map_ok(|outcome| AppendEventStreamResponse { outcome: Some(outcome) });
        Ok(Response::new(Box::pin(outcomes)))
    }

    type ReadAggregateStream = Events;

    async fn read_aggregate(&self, request: Request<ReadAggregateRequest>) -> Result<Response<Events>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::default();
        let aggregate_id = violations.check("aggregate_id", validate::uuid(&request.aggregate_id));
        let from = Version(request.from_version.max(1));
        let to = Version(request.to_version.unwrap_or(i32::MAX));
        if to < from {
            violations.add("to_version", format_args!("{to} is before from_version {from}"));
        }
        let (Some(aggregate_id), true) = (aggregate_id, violations.0.is_empty()) else {
            return Err(invalid(&violations.0));
        };
        Ok(Response::new(Box::pin(stream::aggregate(self.reader()?, aggregate_id.into(), from, to))))
    }

    type ReadAllStream = Events;

    async fn read_all(&self, request: Request<ReadAllRequest>) -> Result<Response<Events>, Status> {
        let request = request.into_inner();
        let (from, filter) = request::selection(&request).map_err(|violations| invalid(&violations))?;
        let after = match from {
            request::From::Position(after) => after,
            request::From::Time(time) => in_time(read::before_time(self.readable()?, time)).await.map_err(away)?,
        };
        let all = stream::all(self.reader()?, self.head.clone(), after, filter, request.follow);
        Ok(Response::new(Box::pin(all.take_until(self.stop.clone().cancelled_owned()))))
    }

    async fn get_head(&self, _: Request<GetHeadRequest>) -> Result<Response<GetHeadResponse>, Status> {
        let position = in_time(read::head(self.readable()?)).await.map_err(away)?.0;
        Ok(Response::new(GetHeadResponse { position }))
    }

    async fn save_snapshot(
        &self,
        request: Request<SaveSnapshotRequest>,
    ) -> Result<Response<SaveSnapshotResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::default();
        let aggregate_id = violations.check("aggregate_id", validate::uuid(&request.aggregate_id));
        violations.check("aggregate_type", validate::name(&request.aggregate_type));
        violations.check("snapshot_data", request::sized_object(&request.snapshot_data));
        if request.event_version < 1 {
            violations.add("event_version", "must be at least 1");
        }
        let (Some(aggregate_id), true) = (aggregate_id, violations.0.is_empty()) else {
            return Err(invalid(&violations.0));
        };
        let version = Version(request.event_version);
        let (pool, snapshot) = (self.readable()?, &request.snapshot_data);
        in_time(snapshot::save(pool, aggregate_id.into(), &request.aggregate_type, version, snapshot)).await?;
        Ok(Response::new(SaveSnapshotResponse {}))
    }

    async fn get_snapshot(
        &self,
        request: Request<GetSnapshotRequest>,
    ) -> Result<Response<GetSnapshotResponse>, Status> {
        let id = request.into_inner().aggregate_id;
        let mut violations = Violations::default();
        let Some(aggregate_id) = violations.check("aggregate_id", validate::uuid(&id)) else {
            return Err(invalid(&violations.0));
        };
        let snapshot = in_time(snapshot::get(self.readable()?, aggregate_id.into())).await.map_err(away)?;
        let snapshot = snapshot.ok_or_else(|| Status::not_found(format!("aggregate {id} has no snapshot")))?;
        Ok(Response::new(GetSnapshotResponse {
            aggregate_id: snapshot.aggregate_id.to_string(),
            aggregate_type: snapshot.aggregate_type,
            event_version: snapshot.version.0,
            snapshot_data: String::from(Box::<str>::from(snapshot.data)),
            created_at: Some(request::timestamp(snapshot.created_at)),
        }))
    }
}

fn response(appended: Vec<Appended>) -> AppendEventsResponse {
    let event = |appended: Appended| proto::AppendedEvent {
        event_id: appended.event_id.to_string(),
        event_version: appended.version.0,
        position: appended.position.0,
    };
    let known = appended.iter().any(|appended| appended.known);
    AppendEventsResponse { events: appended.into_iter().map(event).collect(), known }
}

/// A refusal is an answer within the stream; only what stops everything ends the stream.
fn refusal(status: Status) -> Result<Outcome, Status> {
    if matches!(status.code(), tonic::Code::Unavailable | tonic::Code::FailedPrecondition) {
        return Err(status);
    }
    let (code, message) = (status.code() as i32, status.message().to_owned());
    Ok(Outcome::Refused(proto::Refusal { code, message }))
}

/// An event that is there, without its data.
fn named(event: Unreadable) -> RecordedEvent {
    RecordedEvent {
        event_id: event.event_id.to_string(),
        aggregate_id: event.aggregate_id.to_string(),
        aggregate_type: event.aggregate_type,
        event_type: event.event_type,
        event_version: event.version.0,
        event_data: String::new(),
        metadata: String::new(),
        occurred_at: Some(request::timestamp(event.occurred_at)),
        position: event.position.0,
        recorded_at: Some(request::timestamp(event.recorded_at)),
        unreadable: Some(event.reason),
    }
}

fn recorded(event: Recorded<Payload>) -> RecordedEvent {
    RecordedEvent {
        event_id: event.event_id.to_string(),
        aggregate_id: event.aggregate_id.to_string(),
        aggregate_type: event.data.aggregate_type,
        event_type: event.data.event_type,
        event_version: event.version.0,
        event_data: String::from(Box::<str>::from(event.data.event_data)),
        metadata: event.data.metadata.to_string(),
        occurred_at: Some(request::timestamp(event.occurred_at)),
        position: event.position.0,
        recorded_at: Some(request::timestamp(event.recorded_at)),
        unreadable: None,
    }
}

fn invalid(violations: &[Violation]) -> Status {
    let mut details = ErrorDetails::new();
    for Violation { field, problem } in violations {
        details.add_bad_request_violation(field, problem);
    }
    let all: Vec<_> =
        violations.iter().map(|violation| format!("{}: {}", violation.field, violation.problem)).collect();
    Status::with_error_details(tonic::Code::InvalidArgument, all.join("; "), details)
}

/// What a caller waits for does not outlast the server that it is asked of.
async fn in_time<T, E: From<sqlx::Error>>(work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    database::with_deadline("answering", work).await
}

fn away(error: sqlx::Error) -> Status {
    let reason = database::describe(&error);
    if database::is_transient(&error) {
        Status::unavailable(format!("the database is away: {reason}"))
    } else if database::lacks_migrations(&error) {
        Status::failed_precondition(reason)
    } else {
        tracing::error!(error = reason, "event store: the database answers with an error");
        Status::internal(reason)
    }
}

impl From<append::Error> for Status {
    fn from(error: append::Error) -> Self {
        use append::Error;
        let (code, named) = match &error {
            Error::VersionConflict { aggregate_id, expected, current } => (
                tonic::Code::Aborted,
                vec![
                    ("aggregate_id", aggregate_id.to_string()),
                    ("expected_version", expected.to_string()),
                    ("current_version", current.to_string()),
                ],
            ),
            Error::AnotherType { .. } => {
                return invalid(&[Violation { field: "aggregate_type".to_owned(), problem: error.to_string() }]);
            }
            Error::KeyReused(key) => (tonic::Code::AlreadyExists, vec![("idempotency_key", key.clone())]),
            Error::EventExists(id) => (tonic::Code::AlreadyExists, vec![("event_id", id.to_string())]),
            Error::VersionsExhausted { aggregate_id } => {
                (tonic::Code::OutOfRange, vec![("aggregate_id", aggregate_id.to_string())])
            }
            Error::Refused(reason) => {
                let field = "events".to_owned();
                return invalid(&[Violation { field, problem: format!("Postgres refuses the data: {reason}") }]);
            }
            Error::NotMigrated => (tonic::Code::FailedPrecondition, Vec::new()),
            Error::Unavailable(_) => (tonic::Code::Unavailable, Vec::new()),
        };
        let named: std::collections::HashMap<_, _> =
            named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let details = ErrorDetails::with_error_info(error.reason(), DOMAIN, named);
        Status::with_error_details(code, error.to_string(), details)
    }
}

impl From<snapshot::Error> for Status {
    fn from(error: snapshot::Error) -> Self {
        match error {
            snapshot::Error::Database(error) => away(error),
            snapshot::Error::NoSuchVersion { .. } => Status::failed_precondition(error.to_string()),
        }
    }
}

impl From<read::Error> for Status {
    fn from(error: read::Error) -> Self {
        match error {
            read::Error::Database(error) => away(error),
            read::Error::Gap { .. } => {
                tracing::error!(%error, "event store: the order of the store is broken");
                Status::data_loss(error.to_string())
            }
        }
    }
}
