//! What the writer asks of Postgres and how it writes.

use std::collections::HashMap;

use events::{AggregateId, EventId, Position, TraceContext, Version};
use sqlx::PgConnection;

use super::decide::UsedKey;
use super::heads::AggregateHead;
use super::{Append, Appended};

/// Appends that were decided to be written, with the version of each one's first event, as columns.
#[derive(Default)]
pub(super) struct Rows<'a> {
    event_ids: Vec<uuid::Uuid>,
    aggregate_ids: Vec<uuid::Uuid>,
    aggregate_types: Vec<&'a str>,
    event_types: Vec<&'a str>,
    versions: Vec<i32>,
    data: Vec<&'a str>,
    metadata: Vec<std::borrow::Cow<'a, str>>,
    occurred_at: Vec<chrono::DateTime<chrono::Utc>>,
    bytes: Vec<i32>,
    keys: Vec<&'a str>,
    digests: Vec<&'a [u8]>,
    first_ordinals: Vec<i64>,
    counts: Vec<i32>,
}

impl<'a> Rows<'a> {
    pub fn push(&mut self, append: &'a Append, first: Version) {
        if let Some(key) = &append.idempotency_key {
            self.keys.push(key);
            self.digests.push(&append.digest);
            self.first_ordinals.push(self.event_ids.len() as i64 + 1);
            self.counts.push(append.events.len() as i32);
        }
        for (version, event) in (first.0..).zip(&append.events) {
            self.event_ids.push(event.event_id.0);
            self.aggregate_ids.push(append.aggregate_id.0);
            self.aggregate_types.push(&append.aggregate_type);
            self.event_types.push(&event.event_type);
            self.versions.push(version);
            self.data.push(&event.event_data);
            self.metadata.push(traced(&event.metadata, append.trace));
            self.occurred_at.push(event.occurred_at);
            self.bytes.push(i32::try_from(event.bytes).unwrap_or(i32::MAX));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.event_ids.is_empty()
    }

    pub fn len(&self) -> usize {
        self.event_ids.len()
    }
}

/// The metadata with the call's trace in it, unless it brings one. The text was checked to be a JSON object.
fn traced(metadata: &str, trace: Option<TraceContext>) -> std::borrow::Cow<'_, str> {
    let Some(trace) = trace else {
        return metadata.into();
    };
    if metadata == "{}" {
        return format!(r#"{{"{}":"{trace}"}}"#, events::Metadata::TRACEPARENT).into();
    }
    let Ok(mut object) = serde_json::from_str::<HashMap<String, Box<serde_json::value::RawValue>>>(metadata) else {
        return metadata.into();
    };
    if object.contains_key(events::Metadata::TRACEPARENT) {
        return metadata.into();
    }
    match serde_json::value::to_raw_value(&trace.to_string()) {
        Ok(value) => {
            object.insert(events::Metadata::TRACEPARENT.to_owned(), value);
            serde_json::to_string(&object).map_or(metadata.into(), Into::into)
        }
        Err(_) => metadata.into(),
    }
}

/// The head row as a writer left it. As long as nothing of it has changed, nobody else has appended, and the store has
/// not gone back to a time before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeadRow {
    pub epoch: i64,
    pub position: Position,
    /// Where its newest version lies (`ctid`).
    place: String,
}

/// Writes the rows after the head; the head row as it is then, or `None` if it was not as we left it.
pub(super) async fn write(db: &mut PgConnection, rows: &Rows<'_>, head: &HeadRow) -> sqlx::Result<Option<HeadRow>> {
    let metadata: Vec<&str> = rows.metadata.iter().map(AsRef::as_ref).collect();
    let written = sqlx::query_file!(
        "src/append/write.sql",
        rows.len() as i64,
        head.epoch,
        head.position.0,
        head.place,
        &rows.event_ids,
        &rows.aggregate_ids,
        &rows.aggregate_types as &[&str],
        &rows.event_types as &[&str],
        &rows.versions,
        &rows.data as &[&str],
        &metadata as &[&str],
        &rows.occurred_at,
        &rows.bytes,
        &rows.keys as &[&str],
        &rows.digests as &[&[u8]],
        &rows.first_ordinals,
        &rows.counts,
    )
    .fetch_optional(db)
    .await?;
    Ok(written.map(|row| HeadRow { epoch: head.epoch, position: Position(row.position), place: row.place }))
}

/// The head row with a new epoch in it, and the epoch before.
pub(super) struct Taken {
    pub head: HeadRow,
    pub before: i64,
}

/// Makes this writer the one whose knowledge counts. Locks the head row to the end of the transaction.
///
/// The epoch rises by chance, so that two histories of one database, one of which a failover has lost, do not come to the
/// same epoch at the same position.
pub(super) async fn take_epoch(db: &mut PgConnection) -> sqlx::Result<Taken> {
    let step = i64::from(uuid::Uuid::now_v7().as_u128() as u16) + 1;
    let taken = |epoch, position, place| Taken {
        head: HeadRow { epoch, position: Position(position), place },
        before: epoch - step,
    };
    let lately = sqlx::query_file!("src/append/take_epoch_lately.sql", step).fetch_optional(&mut *db).await?;
    if let Some(row) = lately {
        return Ok(taken(row.epoch, row.position, row.place));
    }
    let row = sqlx::query!(
        r#"update event_store_head set epoch = epoch + $1 returning epoch, position, ctid::text as "place!""#,
        step
    )
    .fetch_one(db)
    .await?;
    Ok(taken(row.epoch, row.position, row.place))
}

pub(super) async fn heads(
    db: &mut PgConnection,
    aggregates: &[AggregateId],
) -> sqlx::Result<HashMap<AggregateId, AggregateHead>> {
    let ids: Vec<_> = aggregates.iter().map(|aggregate| aggregate.0).collect();
    // The lateral join reads one event per aggregate; `group by` would read its whole history.
    let rows = sqlx::query!(
        r#"select wanted.aggregate_id as "aggregate_id!", newest.event_version, newest.aggregate_type
           from unnest($1::uuid[]) as wanted (aggregate_id)
           cross join lateral (
               select event_version, aggregate_type from events
               where events.aggregate_id = wanted.aggregate_id
               order by event_version desc limit 1
           ) as newest"#,
        &ids
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let (version, aggregate_type) = (Version(row.event_version), row.aggregate_type.into());
            (AggregateId(row.aggregate_id), AggregateHead { version, aggregate_type })
        })
        .collect())
}

/// The keys that were used before, with what their requests became.
pub(super) async fn used_keys(db: &mut PgConnection, keys: &[&str]) -> sqlx::Result<HashMap<String, UsedKey>> {
    let rows = sqlx::query_file!("src/append/used_keys.sql", keys as &[&str]).fetch_all(db).await?;
    let mut used: HashMap<String, UsedKey> = HashMap::new();
    for row in rows {
        let key = used.entry(row.key).or_insert_with(|| UsedKey { digest: row.digest, answer: Vec::new() });
        key.answer.push(Appended {
            event_id: EventId(row.event_id),
            version: Version(row.event_version),
            position: Position(row.position),
            known: true,
        });
    }
    Ok(used)
}

pub(super) async fn stored_events(
    db: &mut PgConnection,
    ids: &[uuid::Uuid],
) -> sqlx::Result<HashMap<EventId, (AggregateId, Appended)>> {
    let rows = sqlx::query!(
        "select event_id, aggregate_id, event_version, position from events where event_id = any($1)",
        ids
    )
    .fetch_all(db)
    .await?;
    let found = |event_id, version, position| Appended {
        event_id: EventId(event_id),
        version: Version(version),
        position: Position(position),
        known: true,
    };
    Ok(rows
        .into_iter()
        .map(|row| {
            let appended = found(row.event_id, row.event_version, row.position);
            (appended.event_id, (AggregateId(row.aggregate_id), appended))
        })
        .collect())
}
