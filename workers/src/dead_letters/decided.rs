//! What people have decided about and nobody has done yet: the queue of [`redrive`](crate::redrive). The letters themselves
//! are the queue; taking one out belongs into the transaction that does what was decided.

use std::collections::BTreeMap;

use bus::Message;
use events::{AggregateId, Topic, TraceContext, Version};
use read_model::AnyProjection;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::discard;

type Attributes = BTreeMap<String, String>;

/// An aggregate that is held, and how many events a second are to be applied of it.
pub(crate) struct Sequence {
    pub aggregate_id: AggregateId,
    /// The one that is not live in which it is held; `None`: the live one.
    pub beside: Option<i32>,
    pub rate: Option<f64>,
}

/// A message that is no event of the store.
pub(crate) struct ParkedMessage {
    pub id: Uuid,
    pub discard: bool,
    pub operation: Uuid,
    pub rate: Option<f64>,
    pub message: Message,
    pub message_id: String,
}

/// The letter at the front of an aggregate, with the decision about it.
pub(crate) struct Front {
    id: Uuid,
    pub version: Version,
    pub discard: bool,
    pub operation: Uuid,
    /// Of whoever decided.
    pub trace: Option<TraceContext>,
}

/// The operations that have decisions about a projection's events of the topic or, without a projection, about messages of
/// the topic.
pub(crate) async fn open(pool: &PgPool, projection: Option<&str>, topic: &Topic, most: i64) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_file_scalar!("src/dead_letters/open.sql", projection, topic.name, most).fetch_all(pool).await
}

pub(crate) async fn sequences(
    pool: &PgPool,
    projection: &str,
    topic: &Topic,
    operation: Uuid,
    most: i64,
) -> sqlx::Result<Vec<Sequence>> {
    let rows = sqlx::query_file!("src/dead_letters/decisions.sql", projection, operation, most, topic.name)
        .fetch_all(pool)
        .await?;
    let sequence = |id, rate| Sequence { aggregate_id: AggregateId(id), beside: None, rate };
    Ok(rows.into_iter().map(|row| sequence(row.aggregate_id, row.rate)).collect())
}

/// The operations that have decisions about generations of a projection that are not live, and that this code keeps.
pub(crate) async fn open_beside(pool: &PgPool, projection: &dyn AnyProjection, most: i64) -> sqlx::Result<Vec<Uuid>> {
    let (name, version) = (projection.name(), projection.version() as i32);
    sqlx::query_file_scalar!("src/dead_letters/open_beside.sql", name, version, most).fetch_all(pool).await
}

pub(crate) async fn sequences_beside(
    pool: &PgPool,
    projection: &dyn AnyProjection,
    operation: Uuid,
    most: i64,
) -> sqlx::Result<Vec<Sequence>> {
    let (name, version) = (projection.name(), projection.version() as i32);
    let rows = sqlx::query_file!("src/dead_letters/decisions_beside.sql", name, operation, version, most);
    let rows = rows.fetch_all(pool).await?;
    let sequence = |id, generation, rate| Sequence { aggregate_id: AggregateId(id), beside: Some(generation), rate };
    Ok(rows.into_iter().map(|row| sequence(row.aggregate_id, row.generation, row.rate)).collect())
}

pub(crate) async fn messages(
    pool: &PgPool,
    topic: &Topic,
    operation: Uuid,
    most: i64,
) -> sqlx::Result<Vec<ParkedMessage>> {
    let rows = sqlx::query_file!("src/dead_letters/messages.sql", topic.name, operation, most).fetch_all(pool).await?;
    let message = |row: Vec<u8>, attributes: Attributes| Message { data: row.into(), attributes };
    Ok(rows
        .into_iter()
        .map(|row| ParkedMessage {
            id: row.id,
            discard: row.decision == "discard",
            operation: row.operation_id,
            rate: row.rate,
            message: message(row.payload, row.attributes.0),
            message_id: row.message_id,
        })
        .collect())
}

/// Takes a message out. Returns whether it is still parked: it was tried, and parked again without a decision.
pub(crate) async fn take_message(db: &mut PgConnection, message: &ParkedMessage) -> sqlx::Result<bool> {
    if message.discard {
        discard(db, message.id).await?;
    } else {
        sqlx::query!("delete from parked_events where id = $1 and operation_id = $2", message.id, message.operation)
            .execute(&mut *db)
            .await?;
    }
    let parked = sqlx::query_scalar!(
        r#"select count(*) as "count!" from parked_events where id = $1 and decision is null"#,
        message.id
    );
    Ok(parked.fetch_one(db).await? > 0)
}

/// Locks the letter of a held aggregate; `None` if nobody has decided about it.
pub(crate) async fn front(
    db: &mut PgConnection,
    projection: &str,
    generation: i32,
    aggregate_id: AggregateId,
) -> sqlx::Result<Option<Front>> {
    let row = sqlx::query!(
        r#"select id, event_version as "event_version!", decision, operation_id,
                  (select traceparent from operations where operations.id = parked_events.operation_id) as traceparent
           from parked_events
           where projection = $1 and generation = $2 and aggregate_id = $3
           for update"#,
        projection,
        generation,
        aggregate_id.0
    )
    .fetch_optional(db)
    .await?;
    Ok(row.and_then(|row| {
        let (decision, operation) = row.decision.zip(row.operation_id)?;
        let trace = row.traceparent.as_deref().and_then(TraceContext::parse);
        let version = Version(row.event_version);
        Some(Front { id: row.id, version, discard: decision == "discard", operation, trace })
    }))
}

/// The letter is done with: kept among the discarded if it was not applied, else forgotten.
pub(crate) async fn take_front(db: &mut PgConnection, front: &Front) -> sqlx::Result<()> {
    if front.discard {
        return discard(db, front.id).await;
    }
    sqlx::query!("delete from parked_events where id = $1", front.id).execute(db).await.map(drop)
}
