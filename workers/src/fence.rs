//! Which generation of a projection is live, and who may write to it.
//!
//! The tables of a generation live in a schema of its own. A writer never keeps the schema's name: it reads the fence
//! row, with a share lock, in the transaction in which it writes, so that a promote, which changes the row, comes
//! before or after that transaction and never in the middle.
//!
//! Those who share a row's lock let each other in past whoever waits to change it, for ever if they are busy. So before the
//! row they share an advisory lock, in whose queue they stand behind him.

use database::Lent;
use events::{EventId, Position, Topic};
use read_model::AnyProjection;
use sqlx::{Connection, PgConnection, PgPool};

use crate::dead_letters::park;
use crate::generations::{self, Part};
use crate::pause::Pause;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}", database::describe(.0))]
    Database(sqlx::Error),
    #[error("projection {0} has no generation yet: run `fleet migrate`")]
    Missing(&'static str),
    #[error("projection {projection} does not listen to {topic} yet: run `fleet migrate`")]
    NotListening { projection: &'static str, topic: &'static str },
    #[error(
        "projection {projection} was built by version {live} of its code, this is version {ours}, which writes to it once a \
         generation of its own is promoted: see `fleet generations {projection}`"
    )]
    Version { projection: &'static str, live: i32, ours: i32 },
    #[error("projection {0} is paused {1}")]
    Paused(&'static str, Box<Pause>),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// The right to write to the live generation, as long as the transaction lasts.
#[derive(Debug, Clone, Copy)]
pub struct Fence {
    pub generation: i32,
}

impl Fence {
    /// Enters a part of a generation that is not live, and says how far it is: unqualified table names mean its tables to the
    /// end of the transaction. `None`: another is in it, or this code is not to build it, or not any more.
    pub(crate) async fn beside(
        db: &mut PgConnection,
        projection: &dyn AnyProjection,
        part: &Part,
        last: Option<(Position, EventId)>,
    ) -> sqlx::Result<Option<(Self, Position)>> {
        let row = sqlx::query_file!(
            "src/generations/enter.sql",
            projection.name(),
            part.generation,
            part.part,
            projection.version() as i32,
            last.map(|(position, _)| position.0),
            last.map(|(_, id)| id.0)
        )
        .fetch_optional(db)
        .await?;
        Ok(row.map(|row| (Self { generation: part.generation }, Position(row.position))))
    }

    /// Enters a generation that is not live, for what of it belongs to no part. `None`: this code is not to build it, or not any
    /// more, or it is about to change.
    pub(crate) async fn apart(
        db: &mut PgConnection,
        projection: &dyn AnyProjection,
        generation: i32,
    ) -> sqlx::Result<Option<Self>> {
        let row = sqlx::query!(
            r#"select set_config('search_path', quote_ident(schema_name) || ', public', true) as "search_path!",
                      set_config('TimeZone', 'UTC', true) || set_config('DateStyle', 'ISO, MDY', true)
                          || set_config('IntervalStyle', 'postgres', true) as "values!"
               from generations
               where projection = $1 and generation = $2 and version = $3 and purpose = 'rebuild'
               and live_since is null and retired_at is null
               and (kept_until is null or kept_until > clock_timestamp())
               for share skip locked"#,
            projection.name(),
            generation,
            projection.version() as i32
        );
        Ok(row.fetch_optional(db).await?.map(|_| Self { generation }))
    }

    /// Enters a generation whose row is locked already, so that nobody else is in it.
    pub(crate) async fn alone(db: &mut PgConnection, projection: &str, generation: i32) -> sqlx::Result<Self> {
        sqlx::query!(
            r#"select set_config('search_path', quote_ident(schema_name) || ', public', true) as "search_path!",
                      set_config('TimeZone', 'UTC', true) || set_config('DateStyle', 'ISO, MDY', true)
                          || set_config('IntervalStyle', 'postgres', true) as "values!"
               from generations
               where projection = $1 and generation = $2"#,
            projection,
            generation
        )
        .fetch_one(db)
        .await?;
        Ok(Self { generation })
    }

    /// Enters the live generation: unqualified table names mean its tables to the end of the transaction. What is paused is
    /// not entered.
    pub async fn enter(db: &mut PgConnection, projection: &dyn AnyProjection) -> Result<Self, Error> {
        let row = sqlx::query!(
            r#"select
                   generation,
                   version,
                   set_config('search_path', quote_ident(schema_name) || ', public', true) as "search_path!",
                   set_config('TimeZone', 'UTC', true) || set_config('DateStyle', 'ISO, MDY', true)
                       || set_config('IntervalStyle', 'postgres', true) as "values!",
                   pg_advisory_xact_lock_shared(hashtextextended(name, 1)) as "shared!",
                   coalesce(paused_until > clock_timestamp(), false) as "paused!",
                   pause_reason, paused_by, paused_at, nullif(paused_until, 'infinity') as until
               from projections
               where name = $1
               for share"#,
            projection.name()
        )
        .fetch_optional(db)
        .await?
        .ok_or(Error::Missing(projection.name()))?;
        let ours = projection.version() as i32;
        if row.version != ours {
            return Err(Error::Version { projection: projection.name(), live: row.version, ours });
        }
        let pause = Pause::of(row.pause_reason, row.paused_by, row.paused_at, row.until);
        if let Some(pause) = pause.filter(|_| row.paused) {
            return Err(Error::Paused(projection.name(), Box::new(pause)));
        }
        Ok(Self { generation: row.generation })
    }
}

/// Waits for the writers that are in, and keeps all others out to the end of the transaction. Before the fence row is changed
/// so that they must see it.
pub async fn close(db: &mut PgConnection, projection: &str) -> sqlx::Result<()> {
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended($1, 1))", projection).execute(db).await.map(drop)
}

/// Whether this code may write to the live generation: the inner error is [`Error::Version`], the outer one may pass. A topic
/// that the generation does not know yet is as good as no generation: it could not be swept.
pub async fn check(pool: &PgPool, projection: &dyn AnyProjection, topic: &Topic) -> Result<Result<(), Error>, Error> {
    let mut db = Lent::by(pool).await?;
    let checked = check_on(&mut db, projection, topic).await;
    db.give_back();
    checked
}

async fn check_on(
    db: &mut PgConnection,
    projection: &dyn AnyProjection,
    topic: &Topic,
) -> Result<Result<(), Error>, Error> {
    let mut tx = db.begin().await?;
    match Fence::enter(&mut tx, projection).await {
        Ok(_) | Err(Error::Paused(..)) => {}
        Err(version @ Error::Version { .. }) => return Ok(Err(version)),
        Err(other) => return Err(other),
    }
    let listens = sqlx::query_scalar!(
        r#"select exists (
               select from projections join projection_progress using (generation)
               where name = $1 and projection = name and projection_progress.topic = $2
           ) as "listens!""#,
        projection.name(),
        topic.name
    );
    if listens.fetch_one(&mut *tx).await? {
        Ok(Ok(()))
    } else {
        Err(Error::NotListening { projection: projection.name(), topic: topic.name })
    }
}

/// What of a projection was not there before.
#[derive(Debug)]
pub struct Established {
    /// The projection itself.
    pub projection: bool,
    /// Topics that it listens to from now on.
    pub topics: Vec<String>,
}

/// Makes sure that the projection has a live generation, and that it listens to all its topics. Safe to call from many
/// processes at once; it creates tables, so it is the migration's work, and part of its transaction, and not a worker's.
pub async fn establish(db: &mut PgConnection, projection: &dyn AnyProjection) -> Result<Established, Error> {
    let name = projection.name();
    let topics: Vec<_> = projection.topics().iter().map(|topic| topic.name).collect();
    let mut tx = db.begin().await?;
    // The column has one of its topics, for those who knew of one only; the others are in `projection_progress`.
    let created = sqlx::query!(
        "insert into projections (name, topic, version, schema_name) values ($1, $2, $3, $1) on conflict do nothing",
        name,
        topics.first().copied(),
        projection.version() as i32
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    // A topic that is new to a generation is swept from the beginning: nothing of it was ever applied.
    let topics = sqlx::query_scalar!(
        "insert into projection_progress (projection, generation, topic)
         select name, generation, listening.topic
         from projections, unnest($3::text[]) as listening (topic)
         where name = $1 and version = $2
         on conflict do nothing
         returning topic",
        name,
        projection.version() as i32,
        &topics as &[&str]
    )
    .fetch_all(&mut *tx)
    .await?;
    if created == 1 {
        generations::first(&mut tx, projection).await?;
    }
    if created == 0 && !topics.is_empty() {
        // Ids without a topic are of the only one that there was.
        sqlx::query!(
            "update processed_event_ids as id
             set topic = progress.topic
             from projection_progress as progress
             where id.projection = $1
             and id.topic is null
             and progress.projection = id.projection
             and progress.generation = id.generation
             and progress.topic <> all($2::text[])",
            name,
            &topics
        )
        .execute(&mut *tx)
        .await?;
        park::follow(&mut tx, projection).await?;
    }
    tx.commit().await?;
    Ok(Established { projection: created == 1, topics })
}
