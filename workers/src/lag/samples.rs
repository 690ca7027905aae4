//! What was measured in the last hour, kept in the database: better or worse, and done when, from more than two looks a moment
//! apart, and whoever asks.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use database::Primary;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::trend::Point;
use super::{Measurer, Report, Status};

/// From one sample to the next.
const EVERY: Duration = Duration::from_secs(10);

/// Slots of ten seconds that are kept.
const KEPT: i64 = 360;

/// How long ago the sample is that now is compared with: long enough for a direction, and short enough to be about now.
const AGO: (TimeDelta, TimeDelta) = (TimeDelta::seconds(45), TimeDelta::seconds(120));

/// How far a projection was on one of its topics.
#[derive(Debug, Clone)]
pub struct Sample {
    pub projection: String,
    pub topic: String,
    pub generation: i32,
    pub observed_at: DateTime<Utc>,
    pub head_position: i64,
    pub settled_position: i64,
    pub lag_events: i64,
    pub lag_at_most: bool,
}

impl Sample {
    pub(crate) fn is_of(&self, status: &Status) -> bool {
        (&self.projection, &self.topic, self.generation) == (&status.name, &status.topic, status.generation)
    }

    pub(crate) fn point(&self) -> Point {
        Point {
            lag_events: self.lag_events,
            lag_at_most: self.lag_at_most,
            settled: self.settled_position,
            head: self.head_position,
        }
    }
}

/// Measures and keeps a sample every ten seconds, until stopped.
pub async fn keep_all(pool: PgPool, measurer: Measurer, primary: Primary, stop: CancellationToken) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        // Whose database is away is told so by the watch.
        if primary.refusal().is_some() {
            continue;
        }
        let sampling = async {
            let report = measurer.report().await.map_err(|error| error.to_string())?;
            keep(&pool, &report).await.map_err(|error| database::describe(&error))
        };
        match stop.run_until_cancelled(sampling).await {
            Some(Err(error)) if primary.refusal().is_none() => {
                tracing::warn!(error, "no sample of the lag could be kept")
            }
            _ => {}
        }
    }
}

/// Keeps what was measured, and forgets what is older than an hour.
///
/// # Errors
/// The database's.
pub async fn keep(pool: &PgPool, report: &Report) -> sqlx::Result<()> {
    let all = &report.projections;
    let (names, topics): (Vec<_>, Vec<_>) = all.iter().map(|it| (it.name.clone(), it.topic.clone())).unzip();
    let generations: Vec<_> = all.iter().map(|it| it.generation).collect();
    let (settled, events): (Vec<_>, Vec<_>) = all.iter().map(|it| (it.settled_position, it.lag_events)).unzip();
    let (seconds, at_most): (Vec<_>, Vec<_>) = all.iter().map(|it| (it.lag_seconds, it.lag_at_most)).unzip();
    sqlx::query_file!(
        "src/lag/keep_sample.sql",
        report.observed_at,
        &names,
        &topics,
        &generations,
        &settled,
        &events,
        &seconds,
        &at_most,
        report.store.head_position
    )
    .execute(pool)
    .await?;
    let slot = report.observed_at.timestamp().div_euclid(10);
    // A clock that went back leaves slots of a time that has not been.
    sqlx::query!("delete from lag_samples where slot < $1 or slot > $2", slot - KEPT, slot + 1).execute(pool).await?;
    Ok(())
}

/// Of each projection and topic, the newest sample that is old enough to compare now with.
///
/// # Errors
/// The database's.
pub async fn earlier(pool: &PgPool, now: DateTime<Utc>) -> sqlx::Result<Vec<Sample>> {
    let (to, from) = (now - AGO.0, now - AGO.1);
    sqlx::query_as!(
        Sample,
        "select distinct on (projection, topic)
             projection, topic, generation, observed_at, head_position, settled_position, lag_events, lag_at_most
         from lag_samples
         where slot between $1 and $2
         order by projection, topic, slot desc",
        from.timestamp().div_euclid(10),
        to.timestamp().div_euclid(10)
    )
    .fetch_all(pool)
    .await
}
