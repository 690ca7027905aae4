//! From what the bus delivered to events of the store.
//!
//! A message is believed in one thing only: which event it speaks of. The event itself comes from the store, whoever
//! published the message and whatever it says. A message that is no event of the store is adopted (into the store
//! first, where the topic does so) or parked.

use std::collections::HashMap;
use std::time::Duration;

use bus::Delivery;
use event_store::proto::event_store_client::EventStoreClient;
use event_store::proto::{AppendEventsRequest, NewEvent};
use event_store::read;
use events::{AggregateId, EventId, Payload, Topic, TraceContext, wire};
use identity::Channel;
use kill_points::kill_point;
use read_model::AnyProjection;
use sqlx::PgPool;
use tonic::Code;

use crate::Metrics;
use crate::apply::Stride;
use crate::awaited::{self, Awaited};
use crate::dead_letters::park::{self, Reason};
use crate::fold::{Refusal, decodes};
use crate::received::Received;
use crate::verdict::Event;

/// How long a foreign event that came before its predecessors is given back, before it is parked.
pub const PREDECESSOR_WAIT: Duration = Duration::from_secs(600);

/// Only outages: whatever is wrong with a message has been dealt with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}", database::describe(.0))]
    Database(#[from] sqlx::Error),
    #[error("the event store does not answer: {0}")]
    Store(String),
}

#[derive(Debug, Clone)]
pub struct Resolver {
    pub topic: &'static Topic,
    pub projections: Vec<&'static dyn AnyProjection>,
    pub pool: PgPool,
    /// For adoption: only the event store appends.
    pub store: EventStoreClient<Channel>,
    pub metrics: Metrics,
    /// [`PREDECESSOR_WAIT`], or none for what has waited long enough.
    pub patience: Duration,
    /// How many events are asked for at a time. Shared by its clones.
    pub stride: Stride,
}

/// Events of the store, and the ids of those that it has but that did not fit.
struct Found {
    events: Vec<Event>,
    rest: Vec<EventId>,
}

/// A batch of deliveries, resolved.
#[derive(Debug, Default)]
pub struct Resolved {
    /// What the deliveries speak of, each event once, as far as it is good for one batch.
    pub events: Vec<Event>,
    /// The others that they speak of: see [`Resolver::part`].
    pub rest: Vec<EventId>,
    /// Indexes of deliveries to give back: they are delivered again.
    pub later: Vec<usize>,
}

impl Resolver {
    pub async fn resolve(&self, deliveries: &[Delivery]) -> Result<Resolved, Error> {
        self.messages(&deliveries.iter().map(Received::from).collect::<Vec<_>>()).await
    }

    /// As [`resolve`](Self::resolve), of messages that nobody waits for the answer to, or that are in spans of their own.
    pub async fn messages(&self, messages: &[Received<'_>]) -> Result<Resolved, Error> {
        let mut ids = Vec::with_capacity(messages.len());
        let mut spoken_of: Vec<Option<wire::Identity>> = Vec::with_capacity(messages.len());
        for received in messages {
            match wire::identify(&received.message.data) {
                Ok(identity) => {
                    ids.push(identity.event_id);
                    spoken_of.push(Some(identity));
                }
                Err(error) => {
                    self.park(*received, Reason::Undecodable, &error.to_string()).await?;
                    spoken_of.push(None);
                }
            }
        }
        ids.sort_unstable();
        ids.dedup();
        let found = self.found(&ids).await?;
        let mut known: HashMap<EventId, AggregateId> =
            found.events.iter().map(|event| (event.event_id, event.aggregate_id)).collect();
        known.extend(self.aggregates(&found.rest).await?);
        let mut resolved = self.ours(found);
        if traces::are_on() {
            within(&mut resolved.events, &spoken_of, messages);
        }
        let mut foreign: Vec<(usize, wire::Event<'_>)> = Vec::new();
        for (index, identity) in spoken_of.iter().enumerate() {
            let Some(identity) = identity else { continue };
            if known.contains_key(&identity.event_id) {
                continue;
            }
            match wire::decode(&messages[index].message.data) {
                Ok(event) => foreign.push((index, event)),
                Err(error) => self.park(messages[index], Reason::Undecodable, &error.to_string()).await?,
            }
        }
        if !foreign.is_empty() {
            let (adopted, later) = self.adopt_all(foreign, messages).await?;
            known.extend(self.aggregates(&adopted).await?);
            resolved.rest.extend(adopted);
            resolved.later = later;
        }
        self.park_misnamed(&spoken_of, &known, messages).await?;
        Ok(resolved)
    }

    /// The next events of what is left of a batch.
    pub async fn part(&self, rest: &[EventId]) -> Result<Resolved, Error> {
        Ok(self.ours(self.found(rest).await?))
    }

    /// An event may be spoken of on a topic that is not its own; the workers of its own topic take care of it.
    fn ours(&self, found: Found) -> Resolved {
        let ours = |event: &Event| self.topic.aggregate_types.contains(&event.data.aggregate_type.as_str());
        Resolved { events: found.events.into_iter().filter(ours).collect(), rest: found.rest, later: Vec::new() }
    }

    /// Which of these the store knows. If they are too many for it, the first half of them, also the next time. The rest may
    /// hold ids that were not looked for: each answer has a budget of its own, and one of them is as much as is held at a
    /// time.
    async fn found(&self, ids: &[EventId]) -> Result<Found, Error> {
        loop {
            let (now, later) = ids.split_at(ids.len().min(self.stride.now()));
            let mut db = self.pool.acquire().await?;
            match read::careful::by_id(&mut db, now).await {
                Ok(found) => {
                    self.stride.lengthen(now.len());
                    let events = Event::all(found.events, found.unreadable).collect();
                    return Ok(Found { events, rest: found.rest.iter().chain(later).copied().collect() });
                }
                Err(error) if database::is_too_much(&error) && now.len() > 1 => self.stride.shorten(now.len()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Adopts foreign events, parks those that cannot be adopted, and returns those that were and the indexes of those whose
    /// predecessors are still to come.
    async fn adopt_all(
        &self,
        mut foreign: Vec<(usize, wire::Event<'_>)>,
        messages: &[Received<'_>],
    ) -> Result<(Vec<EventId>, Vec<usize>), Error> {
        // In order of version, so that a run of foreign events of one aggregate is adopted in one go.
        foreign.sort_by_key(|(_, event)| (event.aggregate_id, event.event_version));
        let mut adopted = Vec::new();
        let mut early: Vec<(usize, Awaited, i32)> = Vec::new();
        for (index, event) in foreign {
            match self.adopt(&event, messages[index].trace).await? {
                Adoption::Adopted => adopted.push(event.event_id),
                Adoption::TooEarly { head } => {
                    let (aggregate_id, version) = (event.aggregate_id, event.event_version);
                    early.push((index, Awaited { event_id: event.event_id, aggregate_id, version }, head));
                }
                Adoption::Refused(reason, error) => self.park(messages[index], reason, &error).await?,
            }
        }
        // Two messages may have brought the same event.
        adopted.sort_unstable();
        adopted.dedup();
        let mut done = adopted.clone();
        let mut later = Vec::new();
        if !early.is_empty() {
            let waited =
                awaited::seen(&self.pool, self.topic, early.iter().map(|(_, event, _)| *event).collect()).await?;
            for (index, event, head) in early {
                if waited.get(&event.event_id).copied().unwrap_or_default() >= self.patience {
                    let error = format!("the aggregate is at version {head}; its predecessors never came");
                    self.park(messages[index], Reason::VersionClash, &error).await?;
                    done.push(event.event_id);
                } else {
                    later.push(index);
                }
            }
        }
        if !done.is_empty() {
            awaited::done(&self.pool, self.topic, &done).await?;
        }
        Ok((adopted, later))
    }

    /// The store is believed, also about which aggregate an event is of. A message that says otherwise is somebody's
    /// mistake, which is kept for a person to see; the event that it names is applied like any other.
    async fn park_misnamed(
        &self,
        spoken_of: &[Option<wire::Identity>],
        known: &HashMap<EventId, AggregateId>,
        messages: &[Received<'_>],
    ) -> Result<(), Error> {
        for (identity, received) in spoken_of.iter().zip(messages) {
            let Some(wire::Identity { event_id, aggregate_id: Some(said) }) = identity else { continue };
            if let Some(aggregate_id) = known.get(event_id).filter(|known| *known != said) {
                let error = format!("its event_id is that of an event of another aggregate, {aggregate_id}");
                self.park(*received, Reason::VersionClash, &error).await?;
            }
        }
        Ok(())
    }

    /// Of which aggregates these are, without reading them whole.
    async fn aggregates(&self, ids: &[EventId]) -> Result<Vec<(EventId, AggregateId)>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
        let rows = sqlx::query!("select event_id, aggregate_id from events where event_id = any($1)", &ids);
        let rows = rows.fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|row| (EventId(row.event_id), AggregateId(row.aggregate_id))).collect())
    }

    /// Appends a foreign event to the store. Idempotent by its id.
    async fn adopt(&self, event: &wire::Event<'_>, trace: Option<TraceContext>) -> Result<Adoption, Error> {
        let refused = |reason, error: String| Ok(Adoption::Refused(reason, error));
        if !self.topic.adopts_foreign_events {
            return refused(
                Reason::UnknownEvent,
                "the store does not know the event, and this topic adopts none".into(),
            );
        }
        if !self.topic.aggregate_types.contains(&&*event.aggregate_type) {
            return refused(Reason::WrongData, "its aggregate type does not belong to this topic".into());
        }
        if event.event_version.0 < 1 {
            return refused(Reason::WrongData, "event_version must be at least 1".into());
        }
        if let Err(Refusal { reason, error }) = self.fits(event) {
            return refused(reason, error);
        }
        match self.store.clone().append_events(append_request(event, trace)).await {
            Ok(_) => {
                kill_point!("resolve.adopted");
                self.metrics.adopted_events.with_label_values(&[self.topic.name]).inc();
                Ok(Adoption::Adopted)
            }
            // Another worker, or this one before a lost answer, was first.
            Err(status) if status.code() == Code::AlreadyExists => Ok(Adoption::Adopted),
            Err(status) if status.code() == Code::Aborted => {
                let head = self.version(event).await?;
                if head >= event.event_version.0 {
                    refused(Reason::VersionClash, format!("the aggregate is at version {head} already"))
                } else {
                    Ok(Adoption::TooEarly { head })
                }
            }
            Err(status) if matches!(status.code(), Code::InvalidArgument | Code::OutOfRange) => {
                refused(Reason::WrongData, format!("the event store refuses it: {}", status.message()))
            }
            Err(status) => Err(Error::Store(status.message().to_owned())),
        }
    }

    /// Whether every projection of the topic can decode it: what would be poison is not let into the store.
    fn fits(&self, event: &wire::Event<'_>) -> Result<(), Refusal> {
        let payload = Payload {
            aggregate_type: event.aggregate_type.to_string(),
            event_type: event.event_type.to_string(),
            event_data: event.event_data.to_owned(),
            metadata: event.metadata.clone().into_owned(),
        };
        for projection in &self.projections {
            decodes(*projection, &payload)?;
        }
        Ok(())
    }

    async fn version(&self, event: &wire::Event<'_>) -> Result<i32, Error> {
        let version = sqlx::query_scalar!(
            r#"select coalesce(max(event_version), 0) as "version!" from events where aggregate_id = $1"#,
            event.aggregate_id.0
        );
        Ok(version.fetch_one(&self.pool).await?)
    }

    async fn park(&self, received: Received<'_>, reason: Reason, error: &str) -> Result<(), Error> {
        park::message(&self.pool, self.topic, received, reason, error).await?;
        kill_point!("resolve.parked");
        self.metrics.parked_messages.with_label_values(&[self.topic.name, reason.as_str()]).inc();
        Ok(())
    }
}

enum Adoption {
    /// It is in the store now.
    Adopted,
    /// Events before it are still to come: the aggregate is at this version.
    TooEarly {
        head: i32,
    },
    Refused(Reason, String),
}

/// The events of messages, in the spans in which these came.
fn within(events: &mut [Event], spoken_of: &[Option<wire::Identity>], messages: &[Received<'_>]) {
    let spans =
        spoken_of.iter().zip(messages).filter_map(|(identity, it)| Some((identity.as_ref()?.event_id, it.trace?)));
    let spans: HashMap<EventId, TraceContext> = spans.collect();
    for event in events {
        if let Some(&trace) = spans.get(&event.event_id) {
            event.within(trace);
        }
    }
}

/// A foreign event may have a trace that its message has and its metadata have not.
fn append_request(event: &wire::Event<'_>, trace: Option<TraceContext>) -> tonic::Request<AppendEventsRequest> {
    let mut request = tonic::Request::new(AppendEventsRequest {
        aggregate_id: event.aggregate_id.to_string(),
        aggregate_type: event.aggregate_type.to_string(),
        expected_version: Some(event.event_version.0 - 1),
        idempotency_key: String::new(),
        events: vec![NewEvent {
            event_id: Some(event.event_id.to_string()),
            event_type: event.event_type.to_string(),
            event_data: event.event_data.get().to_owned(),
            metadata: event.metadata.to_string(),
            occurred_at: Some(event_store::service::timestamp(event.occurred_at)),
        }],
    });
    if let Some(traceparent) = trace.and_then(|trace| trace.to_string().parse().ok()) {
        request.metadata_mut().insert(events::Metadata::TRACEPARENT, traceparent);
    }
    request
}
