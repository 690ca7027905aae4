//! How late each projection is, measured from the store.
//!
//! The worker is not asked: what it does not say when it is dead is exactly what an SRE must hear. All times are the
//! database's.

use event_store::read;
use projections::AnyProjection;
use serde::Serialize;
use sqlx::PgPool;

use crate::Metrics;

/// Unsettled events counted exactly. Above, the count of positions to the head stands in: never less than the truth.
const CAP: i64 = 100_000;

/// Seconds without a sweep after which a projection counts as stopped.
const SILENCE: f64 = 15.0;

/// A projection as seen from the store.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    pub name: &'static str,
    pub topic: &'static str,
    pub state: State,
    /// Events of the topic that are neither applied, nor skipped, nor parked, nor waiting behind a parked one.
    pub lag_events: i64,
    /// Age of the oldest of them; 0 if there is none.
    pub lag_seconds: f64,
    pub settled_position: i64,
    /// What waits for a person: parked events of the projection, and parked messages of its topic.
    pub parked: i64,
    /// Age of the oldest of it; 0 if there is nothing.
    pub parked_oldest_seconds: f64,
    /// Aggregates that wait behind a parked event.
    pub held_aggregates: i64,
    /// Ids remembered above the settled position.
    pub processed_event_ids: i64,
    pub generation: i32,
    pub version: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A worker swept it lately.
    Running,
    /// No worker did.
    Stopped,
    /// It was built by another version of its code; workers refuse to write to it.
    Fenced,
}

/// All that `GET /admin/v1/projections` says.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub store: Store,
    pub projections: Vec<Status>,
    pub observed_at: chrono::DateTime<chrono::Utc>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Store {
    pub head_position: i64,
}

/// Measures now.
pub async fn report(pool: &PgPool, projections: &[&'static dyn AnyProjection]) -> Result<Report, read::Error> {
    let head = read::head(pool).await?;
    let mut statuses = Vec::with_capacity(projections.len());
    for projection in projections {
        statuses.extend(status(pool, *projection, head.0).await?);
    }
    let observed_at = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(pool).await?;
    Ok(Report { store: Store { head_position: head.0 }, projections: statuses, observed_at })
}

/// `None` if the projection has not been established yet.
async fn status(pool: &PgPool, projection: &dyn AnyProjection, head: i64) -> sqlx::Result<Option<Status>> {
    let name = projection.name();
    let topic = projection.topic();
    let row = sqlx::query!(
        r#"select
               live.generation,
               live.version,
               progress.settled_position,
               extract(epoch from clock_timestamp() - progress.swept_at)::float8 as silence,
               parked.events as "parked!",
               coalesce(extract(epoch from clock_timestamp() - parked.oldest), 0)::float8 as "parked_oldest!",
               (
                   select count(*) from projected_aggregates as aggregate
                   where aggregate.projection = $1 and aggregate.generation = live.generation and aggregate.held
               ) as "held!",
               (
                   select count(*) from processed_event_ids as processed
                   where processed.projection = $1 and processed.generation = live.generation
               ) as "ids!"
           from projections as live
           join projection_progress as progress
               on progress.projection = live.name and progress.generation = live.generation
           cross join lateral (
               select count(*) as events, min(first_parked_at) as oldest
               from parked_events as parked
               where (parked.projection = $1 and parked.generation = live.generation)
               or (parked.projection is null and parked.topic = $2)
           ) as parked
           where live.name = $1"#,
        name,
        topic.name
    )
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let lag = sqlx::query_file!(
        "src/lag/unsettled.sql",
        name,
        row.generation,
        row.settled_position,
        topic.aggregate_types as &[&str],
        CAP
    )
    .fetch_one(pool)
    .await?;
    let state = if row.version != projection.version() as i32 {
        State::Fenced
    } else if row.silence.is_some_and(|silence| silence < SILENCE) {
        State::Running
    } else {
        State::Stopped
    };
    Ok(Some(Status {
        name,
        topic: topic.name,
        state,
        lag_events: if lag.events < CAP { lag.events } else { (head - row.settled_position).max(CAP) },
        lag_seconds: lag.seconds.max(0.0),
        settled_position: row.settled_position,
        parked: row.parked,
        parked_oldest_seconds: row.parked_oldest,
        held_aggregates: row.held,
        processed_event_ids: row.ids,
        generation: row.generation,
        version: row.version,
    }))
}

impl Metrics {
    /// Puts a measurement into the gauges; a failed one takes them away, because a held value would be a lie.
    pub fn observe_lag(&self, report: Option<&Report>) {
        let lag = &self.lag;
        lag.seconds.reset();
        lag.events.reset();
        lag.settled_position.reset();
        lag.parked.reset();
        lag.parked_oldest_seconds.reset();
        lag.held_aggregates.reset();
        let Some(report) = report else { return };
        for status in &report.projections {
            let labels = &[status.topic, status.name];
            lag.seconds.with_label_values(labels).set(status.lag_seconds);
            lag.events.with_label_values(labels).set(status.lag_events);
            lag.settled_position.with_label_values(labels).set(status.settled_position);
            lag.parked.with_label_values(labels).set(status.parked);
            lag.parked_oldest_seconds.with_label_values(labels).set(status.parked_oldest_seconds);
            lag.held_aggregates.with_label_values(labels).set(status.held_aggregates);
        }
        lag.head.set(report.store.head_position as f64);
        lag.observed.set(report.observed_at.timestamp_millis() as f64 / 1000.0);
    }
}
