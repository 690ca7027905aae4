//! For authors of projections: say what happened, see what becomes of it.
//!
//! [`history`] and [`folded`] test the fold, without a database; [`Generation`] tests fold and write together, on a
//! database that the test brings. There is an example at the top of the [crate](crate).

use std::marker::PhantomData;

use chrono::{DateTime, Utc};
use events::{AggregateId, EventId, Position, Recorded, Version};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

use crate::{Error, Projection};

/// An event as the store would have recorded it, at `occurred_at` (RFC 3339).
///
/// # Panics
/// If `occurred_at` is not a time.
pub fn recorded<E>(aggregate_id: Uuid, version: i32, occurred_at: &str, data: E) -> Recorded<E> {
    let occurred_at: DateTime<Utc> = occurred_at.parse().expect("occurred_at is RFC 3339");
    Recorded {
        event_id: EventId::generate(),
        aggregate_id: AggregateId(aggregate_id),
        version: Version(version),
        position: Position::START,
        occurred_at,
        recorded_at: occurred_at,
        data,
    }
}

/// The first events of an aggregate, with versions 1, 2, 3 …
///
/// # Panics
/// If a time is not RFC 3339.
pub fn history<E>(aggregate_id: Uuid, events: impl IntoIterator<Item = (&'static str, E)>) -> Vec<Recorded<E>> {
    let numbered = (1..).zip(events);
    numbered.map(|(version, (occurred_at, data))| recorded(aggregate_id, version, occurred_at, data)).collect()
}

/// What `P` makes of these events, as one batch.
pub fn folded<'a, P: Projection>(events: impl IntoIterator<Item = &'a Recorded<P::Event>>) -> P::Changes
where
    P::Event: 'a,
{
    let mut changes = P::Changes::default();
    for event in events {
        P::fold(&mut changes, event);
    }
    changes
}

/// The tables of `P` in a schema of their own, empty at first. Several connections may apply to it at once.
#[derive(Debug)]
pub struct Generation<P> {
    schema: String,
    projection: PhantomData<fn() -> P>,
}

impl<P: Projection> Generation<P> {
    /// # Errors
    /// `P::TABLES` is not SQL, or the connection may not create schemas.
    pub async fn create(db: &mut PgConnection) -> Result<Self, Error> {
        let schema = format!("{}_{}", P::NAME, Uuid::now_v7().simple());
        let generation = Self { schema, projection: PhantomData };
        let mut db = db.begin().await?;
        sqlx::raw_sql(AssertSqlSafe(format!("create schema {}", generation.schema))).execute(&mut *db).await?;
        generation.enter(&mut db).await?;
        sqlx::raw_sql(P::TABLES).execute(&mut *db).await?;
        db.commit().await?;
        Ok(generation)
    }

    /// Folds and writes `events`, at most `batch` (and at least one) at a time, each batch in a transaction.
    ///
    /// # Errors
    /// A write failed; the batches before it stay.
    pub async fn apply(&self, db: &mut PgConnection, events: &[Recorded<P::Event>], batch: usize) -> Result<(), Error> {
        for events in events.chunks(batch.max(1)) {
            let mut db = db.begin().await?;
            self.enter(&mut db).await?;
            P::write(folded::<P>(events), &mut db).await?;
            db.commit().await?;
        }
        Ok(())
    }

    /// The rows of a table (or view) as `to_jsonb` prints them under UTC, in the order of their columns.
    ///
    /// # Errors
    /// There is no such table.
    pub async fn rows(&self, db: &mut PgConnection, table: &str) -> Result<Vec<Value>, Error> {
        let mut db = db.begin().await?;
        self.enter(&mut db).await?;
        sqlx::query("select set_config('timezone', 'UTC', true)").execute(&mut *db).await?;
        let rows = AssertSqlSafe(format!("select to_jsonb(t) from {table} as t order by t"));
        Ok(sqlx::query_scalar(rows).fetch_all(&mut *db).await?)
    }

    /// Removes the schema and all in it.
    ///
    /// # Errors
    /// Somebody else is still in it.
    pub async fn drop(self, db: &mut PgConnection) -> Result<(), Error> {
        sqlx::raw_sql(AssertSqlSafe(format!("drop schema {} cascade", self.schema))).execute(db).await?;
        Ok(())
    }

    /// Unqualified names mean this generation's tables, until the transaction ends: as in the worker.
    async fn enter(&self, db: &mut PgConnection) -> Result<(), Error> {
        sqlx::query("select set_config('search_path', $1 || ', public', true)").bind(&self.schema).execute(db).await?;
        Ok(())
    }
}
