//! The state of an aggregate as of a version, so that its next reader need not start at version 1.

use chrono::{DateTime, Utc};
use events::{AggregateId, Version};
use serde_json::value::RawValue;
use sqlx::PgPool;
use sqlx::types::Json;

use crate::read::READABLE;

#[derive(Debug, Clone)]
pub struct Snapshot {
    pub aggregate_id: AggregateId,
    pub aggregate_type: String,
    pub version: Version,
    pub data: Box<RawValue>,
    pub created_at: DateTime<Utc>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("aggregate {aggregate_id} of type {aggregate_type} has no version {version}")]
    NoSuchVersion { aggregate_id: AggregateId, aggregate_type: String, version: Version },
}

/// Keeps a snapshot; an older one never replaces a newer one. `data` was checked to be a JSON object.
pub async fn save(
    pool: &PgPool,
    aggregate_id: AggregateId,
    aggregate_type: &str,
    version: Version,
    data: &str,
) -> Result<(), Error> {
    let known = sqlx::query_scalar!(
        r#"select exists (
               select from events where aggregate_id = $1 and event_version = $2 and aggregate_type = $3
           ) as "known!""#,
        aggregate_id.0,
        version.0,
        aggregate_type
    )
    .fetch_one(pool)
    .await?;
    if !known {
        return Err(Error::NoSuchVersion { aggregate_id, aggregate_type: aggregate_type.to_owned(), version });
    }
    sqlx::query!(
        "insert into snapshots (aggregate_id, aggregate_type, snapshot_data, event_version)
         values ($1, $2, $3::text::jsonb, $4)
         on conflict (aggregate_id) do update
         set aggregate_type = excluded.aggregate_type, snapshot_data = excluded.snapshot_data,
             event_version = excluded.event_version, created_at = now()
         where snapshots.event_version <= excluded.event_version",
        aggregate_id.0,
        aggregate_type,
        data,
        version.0
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// The newest snapshot, if there is one that can be read: a snapshot saves time, and whoever has none starts at version 1.
pub async fn get(pool: &PgPool, aggregate_id: AggregateId) -> sqlx::Result<Option<Snapshot>> {
    let row = sqlx::query!(
        r#"select
               aggregate_type,
               case when bytes_when_printed(snapshot_data) <= $2 then snapshot_data end as "data: Json<Box<RawValue>>",
               event_version,
               created_at
           from snapshots where aggregate_id = $1"#,
        aggregate_id.0,
        READABLE
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.and_then(|row| {
        let Some(data) = row.data else {
            tracing::warn!(%aggregate_id, "a snapshot is too large to be read, and counts as none");
            return None;
        };
        Some(Snapshot {
            aggregate_id,
            aggregate_type: row.aggregate_type,
            version: Version(row.event_version),
            data: data.0,
            created_at: row.created_at,
        })
    }))
}
