//! From what the bus delivered to events of the store.
//!
//! A message is believed in one thing only: which event it speaks of. The event itself comes from the store, whoever
//! published the message and whatever it says. A message that is no event of the store is adopted (into the store
//! first, where the topic does so) or parked.

use std::collections::HashSet;
use std::time::Duration;

use bus::Delivery;
use chrono::Utc;
use event_store::proto::event_store_client::EventStoreClient;
use event_store::proto::{AppendEventsRequest, NewEvent};
use event_store::{database, read};
use events::{EventId, Payload, Recorded, Topic, wire};
use kill_points::kill_point;
use projections::AnyProjection;
use sqlx::PgPool;
use tonic::Code;
use tonic::transport::Channel;

use crate::Metrics;
use crate::fold::{Refusal, fold};
use crate::park::{self, Reason};
use crate::verdict::Event;

/// How long a foreign event that came before its predecessors is given back, before it is parked.
const PATIENCE: Duration = Duration::from_secs(600);

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
}

/// Events of the store, and the ids of those that it has but that did not fit.
#[derive(Default)]
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
    /// Indexes of deliveries to give back: they shall come again.
    pub later: Vec<usize>,
}

impl Resolver {
    pub async fn resolve(&self, deliveries: &[Delivery]) -> Result<Resolved, Error> {
        let mut ids = Vec::with_capacity(deliveries.len());
        let mut spoken_of: Vec<Option<EventId>> = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            match wire::identify(&delivery.message.data) {
                Ok(identity) => {
                    ids.push(identity.event_id);
                    spoken_of.push(Some(identity.event_id));
                }
                Err(error) => {
                    self.park(delivery, Reason::Undecodable, &error.to_string()).await?;
                    spoken_of.push(None);
                }
            }
        }
        ids.sort_unstable();
        ids.dedup();
        let found = self.found(&ids).await?;
        let known: HashSet<EventId> =
            found.events.iter().map(|event| event.event_id).chain(found.rest.iter().copied()).collect();
        let mut resolved = self.ours(found);
        let mut foreign: Vec<(usize, wire::Event<'_>)> = Vec::new();
        for (index, id) in spoken_of.iter().enumerate() {
            let Some(id) = id else { continue };
            if known.contains(id) {
                continue;
            }
            match wire::decode(&deliveries[index].message.data) {
                Ok(event) => foreign.push((index, event)),
                Err(error) => self.park(&deliveries[index], Reason::Undecodable, &error.to_string()).await?,
            }
        }
        // In order of version, so that a run of foreign events of one aggregate is adopted in one go.
        foreign.sort_by_key(|(_, event)| (event.aggregate_id, event.event_version));
        let mut adopted = Vec::new();
        for (index, event) in foreign {
            let delivery = &deliveries[index];
            match self.adopt(&event, delivery).await? {
                Adoption::Adopted => adopted.push(event.event_id),
                Adoption::TooEarly => resolved.later.push(index),
                Adoption::Refused(reason, error) => self.park(delivery, reason, &error).await?,
            }
        }
        resolved.rest.extend(adopted);
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

    /// Which of these the store knows. If they are too many for it, half of them at a time, until all are looked for.
    async fn found(&self, ids: &[EventId]) -> Result<Found, Error> {
        let mut found = Found::default();
        let mut parts = vec![ids];
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            match read::by_id(&self.pool, part).await {
                Ok(more) => {
                    found.events.extend(Event::all(more.events, more.unreadable));
                    found.rest.extend(more.rest);
                }
                Err(error) if database::is_too_much(&error) && part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    /// Appends a foreign event to the store. Idempotent by its id.
    async fn adopt(&self, event: &wire::Event<'_>, delivery: &Delivery) -> Result<Adoption, Error> {
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
        match self.store.clone().append_events(append_request(event)).await {
            Ok(_) => {
                kill_point!("resolve.adopted");
                self.metrics.adopted_events.with_label_values(&[self.topic.name]).inc();
                Ok(Adoption::Adopted)
            }
            // Another worker, or this one before a lost answer, was first.
            Err(status) if status.code() == Code::AlreadyExists => Ok(Adoption::Adopted),
            Err(status) if status.code() == Code::Aborted => {
                let waited = delivery
                    .published_at
                    .map_or(PATIENCE, |published| (Utc::now() - published).to_std().unwrap_or_default());
                let head = self.version(event).await?;
                if head >= event.event_version.0 {
                    refused(Reason::VersionClash, format!("the aggregate is at version {head} already"))
                } else if waited >= PATIENCE {
                    refused(
                        Reason::VersionClash,
                        format!("the aggregate is at version {head}; its predecessors never came"),
                    )
                } else {
                    Ok(Adoption::TooEarly)
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
        let recorded = Recorded {
            event_id: event.event_id,
            aggregate_id: event.aggregate_id,
            version: event.event_version,
            position: event.position.unwrap_or_default(),
            occurred_at: event.occurred_at,
            recorded_at: event.occurred_at,
            data: Payload {
                aggregate_type: event.aggregate_type.to_string(),
                event_type: event.event_type.to_string(),
                event_data: event.event_data.to_owned(),
                metadata: event.metadata.clone().into_owned(),
            },
        };
        for projection in &self.projections {
            fold(&mut *projection.begin(), &recorded)?;
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

    async fn park(&self, delivery: &Delivery, reason: Reason, error: &str) -> Result<(), Error> {
        park::message(&self.pool, self.topic, delivery, reason, error).await?;
        kill_point!("resolve.parked");
        self.metrics.parked_messages.with_label_values(&[self.topic.name, reason.as_str()]).inc();
        Ok(())
    }
}

enum Adoption {
    /// It is in the store now.
    Adopted,
    /// Events before it are still to come.
    TooEarly,
    Refused(Reason, String),
}

fn append_request(event: &wire::Event<'_>) -> AppendEventsRequest {
    AppendEventsRequest {
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
    }
}
