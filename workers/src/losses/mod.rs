//! Whether anything is lost, by counting: each event of the store that is said to be settled has to be applied, or to wait for a
//! person.
//!
//! An applied version is the number of an aggregate's events that are applied, because versions have no gaps. So at and below
//! the settled position of a topic in a read model
//!
//! > events of the topic = those up to the applied version of their aggregate + those that a letter holds,
//!
//! and what is left over on the right is lost. Among the applied are those that were skipped, of which nothing is recorded,
//! and those that a person discarded. An applied version that the store has no event of is wrong as well: the aggregate's next
//! event would be taken for one that was applied before. What an aggregate's rows say is not looked at.
//!
//! This must not be one statement over the whole store: it goes by windows of positions, the latest first, as far as it gets in
//! its time, and says how far that was.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use database::Lent;
use events::Topic;
use read_model::AnyProjection;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

/// Positions looked at in one statement.
const WINDOW: i64 = 10_000;

/// Lost events, and aggregates that are ahead, that are named in one answer at most.
const EXAMPLES: usize = 10;

/// How long the last statement may take after the time for counting is over.
const OVERTIME: Duration = Duration::from_millis(1000);

/// What was counted of one topic of a read model: positions after `after`, up to `upto`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Counted {
    pub projection: String,
    pub topic: String,
    pub generation: i32,
    pub settled_position: i64,
    pub after: i64,
    pub upto: i64,
    /// Events of the topic that were compared. None is not good news.
    pub events: i64,
    /// Those up to the applied version of their aggregate: applied, skipped, or discarded.
    pub applied: i64,
    /// Those of the applied ones that a person discarded.
    pub discarded: i64,
    /// Those that wait for a person.
    pub parked: i64,
    /// Those that wait behind a parked one.
    pub waiting: i64,
    /// Those that are neither: settled, it is said, and not applied.
    pub lost: i64,
    /// Aggregates whose applied version is that of no event.
    pub ahead: i64,
    /// Some of what is lost, and of the aggregates that are ahead.
    pub examples: Vec<Example>,
    /// Where to go on, as the `upto` of the next request; `null`: everything below was counted.
    pub next: Option<i64>,
    pub observed_at: DateTime<Utc>,
}

/// A lost event; or an aggregate that is ahead, without an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Example {
    pub aggregate_id: Uuid,
    pub applied_version: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_version: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<i64>,
}

impl Counted {
    /// Whether nothing of what was compared is lost.
    pub fn is_whole(&self) -> bool {
        self.lost == 0 && self.ahead == 0
    }

    /// Adds what was counted further below.
    pub fn and(&mut self, below: Self) {
        self.after = below.after;
        self.events += below.events;
        self.applied += below.applied;
        self.discarded += below.discarded;
        self.parked += below.parked;
        self.waiting += below.waiting;
        self.lost += below.lost;
        self.ahead += below.ahead;
        self.examples.extend(below.examples);
        // An aggregate is met in each window in which it has events.
        let mut named = std::collections::BTreeSet::new();
        self.examples.retain(|example| named.insert((example.aggregate_id, example.event_id)));
        self.examples.truncate(EXAMPLES);
        self.next = below.next;
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}", database::describe(.0))]
    Database(#[from] sqlx::Error),
    #[error("projection {0} is not in the database yet, or does not listen to this topic there: run fleet migrate")]
    Missing(&'static str),
    #[error("projection {0} got another generation meanwhile: count again")]
    Replaced(&'static str),
}

/// Counts from `upto` downwards, or from the settled position, for so long: at least one window.
///
/// # Errors
/// The database cannot say, or takes too long for a single window.
pub async fn count(
    pool: &PgPool,
    projection: &dyn AnyProjection,
    topic: &Topic,
    upto: Option<i64>,
    patience: Duration,
) -> Result<Counted, Error> {
    let started = Instant::now();
    let mut db =
        tokio::time::timeout(OVERTIME, Lent::by(pool)).await.map_err(|_| database::timed_out("connecting"))??;
    let mut counted = match in_time(begin(&mut db, projection, topic, upto)).await? {
        Ok(counted) => counted,
        Err(error) => {
            db.give_back();
            return Err(error);
        }
    };
    let mut any = false;
    while let Some(upto) = counted.next.filter(|_| !any || started.elapsed() < patience) {
        match in_time(window(&mut db, projection, topic, &counted, upto)).await {
            Ok(below) => counted.and(below?),
            // Given up with its connection, which ends the statement. What was counted is right all the same.
            Err(_) if any => return Ok(counted),
            Err(error) => return Err(error.into()),
        }
        any = true;
    }
    db.give_back();
    Ok(counted)
}

async fn in_time<T>(work: impl Future<Output = T>) -> sqlx::Result<T> {
    tokio::time::timeout(OVERTIME, work).await.map_err(|_| database::timed_out("counting"))
}

/// Nothing counted yet.
async fn begin(
    db: &mut PgConnection,
    projection: &dyn AnyProjection,
    topic: &Topic,
    upto: Option<i64>,
) -> Result<Counted, Error> {
    let row = sqlx::query!(
        r#"select progress.generation, progress.settled_position, clock_timestamp() as "now!"
           from projections as live
           join projection_progress as progress on progress.projection = live.name and progress.generation = live.generation
           where live.name = $1 and progress.topic = $2"#,
        projection.name(),
        topic.name
    )
    .fetch_optional(db)
    .await?
    .ok_or_else(|| Error::Missing(projection.name()))?;
    let upto = upto.map_or(row.settled_position, |upto| upto.min(row.settled_position));
    Ok(Counted {
        projection: projection.name().to_owned(),
        topic: topic.name.to_owned(),
        generation: row.generation,
        settled_position: row.settled_position,
        after: upto,
        upto,
        events: 0,
        applied: 0,
        discarded: 0,
        parked: 0,
        waiting: 0,
        lost: 0,
        ahead: 0,
        examples: Vec::new(),
        next: (upto > 0).then_some(upto),
        observed_at: row.now,
    })
}

async fn window(
    db: &mut PgConnection,
    projection: &dyn AnyProjection,
    topic: &Topic,
    so_far: &Counted,
    upto: i64,
) -> Result<Counted, Error> {
    let after = (upto - WINDOW).max(0);
    let rows = sqlx::query_file!(
        "src/losses/window.sql",
        projection.name(),
        so_far.generation,
        topic.name,
        after,
        upto,
        topic.aggregate_types as &[&str],
        EXAMPLES as i64
    )
    .fetch_all(db)
    .await?;
    let Some(first) = rows.first() else { return Err(Error::Replaced(projection.name())) };
    let mut counted = Counted {
        after,
        upto,
        events: first.events,
        applied: first.applied,
        discarded: first.discarded,
        parked: first.parked,
        waiting: first.waiting,
        lost: first.lost,
        ahead: first.ahead,
        examples: Vec::new(),
        next: (after > 0).then_some(after),
        ..so_far.clone()
    };
    counted.examples = rows
        .into_iter()
        .filter_map(|row| {
            let (aggregate_id, applied_version) = row.aggregate_id.zip(row.applied_version)?;
            let (event_id, event_type) = (row.event_id, row.event_type);
            let (event_version, position) = (row.event_version, row.position);
            Some(Example { aggregate_id, applied_version, event_id, event_type, event_version, position })
        })
        .collect();
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(after: i64, upto: i64, lost: i64, examples: Vec<Example>) -> Counted {
        Counted {
            projection: "orders".to_owned(),
            topic: "order-events".to_owned(),
            generation: 1,
            settled_position: 30_000,
            after,
            upto,
            events: upto - after,
            applied: upto - after - lost,
            discarded: 0,
            parked: 0,
            waiting: 0,
            lost,
            ahead: 0,
            examples,
            next: (after > 0).then_some(after),
            observed_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn what_is_counted_window_by_window_adds_up_and_names_each_once() {
        let ahead = |aggregate: u128| Example {
            aggregate_id: Uuid::from_u128(aggregate),
            applied_version: 9,
            event_id: None,
            event_type: None,
            event_version: None,
            position: None,
        };
        let mut sum = counted(20_000, 30_000, 1, vec![ahead(1)]);
        sum.and(counted(10_000, 20_000, 0, vec![ahead(1), ahead(2)]));
        sum.and(counted(0, 10_000, 2, (3..40).map(ahead).collect()));
        assert_eq!((sum.after, sum.upto, sum.events, sum.lost, sum.next), (0, 30_000, 30_000, 3, None));
        assert_eq!(sum.examples.len(), EXAMPLES);
        assert_eq!(sum.examples[..3], [ahead(1), ahead(2), ahead(3)]);
        assert!(!sum.is_whole());
    }
}
