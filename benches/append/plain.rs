//! Append as one writes it first, and as one writes it with care: into the same table, with the same indexes and
//! constraints, but a commit for each append and positions from a sequence. Such positions have gaps and do not rise in
//! commit order; what a reader needs to live with that is not charged here, and neither is returning them.

use anyhow::{Result, ensure};
use chrono::{DateTime, Utc};
use event_store::append::Append;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{Connection, PgConnection, Postgres};
use uuid::Uuid;

/// Four round trips: begin, head, rows, commit.
pub async fn transaction(db: &mut PgConnection, append: &Append) -> Result<()> {
    let columns = Columns::of(append);
    let mut tx = db.begin().await?;
    let head: Option<i32> = sqlx::query_scalar("select max(event_version) from events where aggregate_id = $1")
        .bind(append.aggregate_id.0)
        .fetch_one(&mut *tx)
        .await?;
    ensure!(head.unwrap_or(0) == columns.expected, "somebody else appends to the aggregate");
    let insert = "
        insert into events (
            position, event_id, aggregate_id, aggregate_type, event_type, event_version,
            event_data, metadata, occurred_at
        )
        select
            nextval('plain_position'), event_id, $1::uuid, $2::text, event_type, $3::integer + ordinal,
            event_data::jsonb, metadata::jsonb, occurred_at
        from unnest($4::uuid[], $5::text[], $6::text[], $7::text[], $8::timestamptz[])
            with ordinality as event (event_id, event_type, event_data, metadata, occurred_at, ordinal)";
    columns.bind(sqlx::query(insert)).execute(&mut *tx).await?;
    Ok(tx.commit().await?)
}

/// One round trip. Between two that race, the unique constraint decides.
pub async fn statement(db: &mut PgConnection, append: &Append) -> Result<()> {
    let columns = Columns::of(append);
    let insert = "
        insert into events (
            position, event_id, aggregate_id, aggregate_type, event_type, event_version,
            event_data, metadata, occurred_at
        )
        select
            nextval('plain_position'), event_id, $1::uuid, $2::text, event_type, $3::integer + ordinal,
            event_data::jsonb, metadata::jsonb, occurred_at
        from unnest($4::uuid[], $5::text[], $6::text[], $7::text[], $8::timestamptz[])
            with ordinality as event (event_id, event_type, event_data, metadata, occurred_at, ordinal)
        where $3::integer = coalesce((select max(event_version) from events where aggregate_id = $1::uuid), 0)";
    let written = columns.bind(sqlx::query(insert)).execute(db).await?.rows_affected();
    ensure!(written == append.events.len() as u64, "somebody else appends to the aggregate");
    Ok(())
}

struct Columns<'a> {
    aggregate_id: Uuid,
    aggregate_type: &'a str,
    expected: i32,
    event_ids: Vec<Uuid>,
    event_types: Vec<&'a str>,
    data: Vec<&'a str>,
    metadata: Vec<&'a str>,
    occurred_at: Vec<DateTime<Utc>>,
}

impl<'a> Columns<'a> {
    fn of(append: &'a Append) -> Self {
        let events = &append.events;
        Self {
            aggregate_id: append.aggregate_id.0,
            aggregate_type: &append.aggregate_type,
            expected: append.expected_version.map_or(0, |version| version.0),
            event_ids: events.iter().map(|event| event.event_id.0).collect(),
            event_types: events.iter().map(|event| event.event_type.as_str()).collect(),
            data: events.iter().map(|event| event.event_data.as_str()).collect(),
            metadata: events.iter().map(|event| event.metadata.as_str()).collect(),
            occurred_at: events.iter().map(|event| event.occurred_at).collect(),
        }
    }

    fn bind(self, query: Query<'a, Postgres, PgArguments>) -> Query<'a, Postgres, PgArguments> {
        query
            .bind(self.aggregate_id)
            .bind(self.aggregate_type)
            .bind(self.expected)
            .bind(self.event_ids)
            .bind(self.event_types)
            .bind(self.data)
            .bind(self.metadata)
            .bind(self.occurred_at)
    }
}
