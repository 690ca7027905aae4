//! Setting aside what cannot be applied, with its bytes and its error, for a person to decide.
//!
//! A parked event of the store holds its aggregate in that one projection: the events after it wait in the store until
//! it is [redriven](crate::redrive). A parked message that is no event of the store blocks nothing: no read model
//! lacks it.

use std::collections::BTreeMap;

use bus::Message;
use events::{AggregateId, EventId, Payload, Position, Recorded, Topic, TraceContext, wire};
use read_model::AnyProjection;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::fence::Fence;
use crate::received::Received;

/// Why something is parked; the database has the same list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[schema(as = ParkReason)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Not JSON, not UTF-8, no event id.
    Undecodable,
    /// A known event type whose data does not fit.
    WrongData,
    /// The store does not know the event, and the topic does not adopt.
    UnknownEvent,
    /// A foreign event with a version, or an id, that the store has given to another, or whose predecessors never came.
    VersionClash,
    /// Postgres refuses what the projection writes.
    WriteFailed,
    /// The store lacks versions before it.
    MissingVersions,
    /// The store has it and cannot give its data back.
    Unreadable,
    /// The projection's code panics on it.
    Panicked,
}

impl Reason {
    /// All there are.
    pub const ALL: [Self; 8] = [
        Self::Undecodable,
        Self::WrongData,
        Self::UnknownEvent,
        Self::VersionClash,
        Self::WriteFailed,
        Self::MissingVersions,
        Self::Unreadable,
        Self::Panicked,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::WrongData => "wrong_data",
            Self::UnknownEvent => "unknown_event",
            Self::VersionClash => "version_clash",
            Self::WriteFailed => "write_failed",
            Self::MissingVersions => "missing_versions",
            Self::Unreadable => "unreadable",
            Self::Panicked => "panicked",
        }
    }
}

/// Parks an event of the store for one projection. Belongs into the transaction that holds its aggregate.
pub async fn event(
    db: &mut PgConnection,
    projection: &dyn AnyProjection,
    topic: &Topic,
    fence: Fence,
    event: &Recorded<Payload>,
    reason: Reason,
    error: &str,
) -> sqlx::Result<Parked> {
    let (payload, attributes) = wire::encode(event);
    let attributes: BTreeMap<_, _> = attributes.into_iter().collect();
    sqlx::query!(
        "insert into parked_events as parked (
             id, topic, projection, generation, reason, error,
             event_id, aggregate_id, event_version, position, payload, attributes, first_parked_at
         )
         values (
             $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,
             -- It waits since it was parked in another generation.
             coalesce((
                 select min(before.first_parked_at)
                 from generations as generation
                 join parked_events as before
                     on before.projection = generation.projection
                     and before.generation = generation.generation
                     and before.event_id = $7
                 where generation.projection = $3
                 and generation.retired_at is null
             ), clock_timestamp())
         )
         on conflict (projection, generation, event_id) where projection is not null do update
         set attempts = parked.attempts + 1, last_parked_at = clock_timestamp(),
             reason = excluded.reason, error = excluded.error, decision = null, operation_id = null",
        Uuid::now_v7(),
        topic.name,
        projection.name(),
        fence.generation,
        reason.as_str(),
        error,
        event.event_id.0,
        event.aggregate_id.0,
        event.version.0,
        event.position.0,
        payload,
        Json(attributes) as _
    )
    .execute(db)
    .await?;
    Ok(Parked {
        projection: projection.name(),
        topic: topic.name,
        generation: fence.generation,
        event_id: event.event_id,
        aggregate_id: event.aggregate_id,
        position: event.position,
        trace: event.data.metadata.trace(),
        reason,
        error: error.to_owned(),
    })
}

/// An event that is parked as soon as the transaction is committed.
#[derive(Debug)]
pub struct Parked {
    projection: &'static str,
    topic: &'static str,
    generation: i32,
    event_id: EventId,
    aggregate_id: AggregateId,
    position: Position,
    trace: Option<TraceContext>,
    reason: Reason,
    error: String,
}

impl Parked {
    /// Says so in the log: it is committed.
    pub fn say(&self) {
        tracing::error!(
            projection = self.projection,
            topic = self.topic,
            generation = self.generation,
            event_id = %self.event_id,
            aggregate_id = %self.aggregate_id,
            position = self.position.0,
            traceparent = self.trace.map(tracing::field::display),
            reason = self.reason.as_str(),
            error = self.error,
            "parked; its aggregate is held"
        );
    }
}

/// Parks a message that is no event of the store, as it came.
pub async fn message(
    pool: &PgPool,
    topic: &Topic,
    Received { message, message_id, .. }: Received<'_>,
    reason: Reason,
    error: &str,
) -> sqlx::Result<()> {
    let Message { data, attributes } = message;
    let identity = wire::identify(data).ok();
    let event_id = identity.as_ref().map(|identity| identity.event_id.0);
    let aggregate_id = identity.and_then(|identity| identity.aggregate_id).map(|AggregateId(id)| id);
    sqlx::query!(
        "insert into parked_events as parked (
             id, topic, reason, error, event_id, aggregate_id, message_id, payload, attributes
         )
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         on conflict (topic, message_id, md5(payload)) where projection is null do update
         set attempts = parked.attempts + 1, last_parked_at = clock_timestamp(),
             reason = excluded.reason, error = excluded.error,
             -- It was tried, which answers a decision to try it.
             decision = nullif(parked.decision, 'retry'),
             operation_id = case parked.decision when 'discard' then parked.operation_id end",
        Uuid::now_v7(),
        topic.name,
        reason.as_str(),
        error,
        event_id,
        aggregate_id,
        message_id,
        &data[..],
        Json(without_nul(attributes)) as _
    )
    .execute(pool)
    .await?;
    tracing::error!(
        topic = topic.name,
        message_id,
        reason = reason.as_str(),
        error,
        "parked a message that is no event of the store"
    );
    Ok(())
}

/// An aggregate type that moved to another topic takes what is parked of it along: the workers of that topic see to it.
pub(crate) async fn follow(db: &mut PgConnection, projection: &dyn AnyProjection) -> sqlx::Result<()> {
    let topics = projection.topics().iter();
    let (types, topics): (Vec<_>, Vec<_>) =
        topics.flat_map(|topic| topic.aggregate_types.iter().map(|carried| (*carried, topic.name))).unzip();
    sqlx::query!(
        "update parked_events as parked
         set topic = carried.topic
         from events as event
         join unnest($2::text[], $3::text[]) as carried (aggregate_type, topic)
             on carried.aggregate_type = event.aggregate_type
         where parked.projection = $1
         and event.position = parked.position
         and event.event_id = parked.event_id
         and parked.topic <> carried.topic",
        projection.name(),
        &types as &[&str],
        &topics as &[&str]
    )
    .execute(db)
    .await
    .map(drop)
}

/// Attributes come from anybody, and jsonb refuses NUL; the data, which is authoritative, is kept as bytes.
fn without_nul(attributes: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let clean = |text: &str| text.replace('\0', "\u{fffd}");
    attributes.iter().map(|(name, value)| (clean(name), clean(value))).collect()
}
