//! How late each projection is, measured from the store.
//!
//! The worker is not asked, because a dead worker reports nothing. All times are the database's. The work of a measurement
//! is bounded, however large the store is and however much has piled up.

mod backlog;
mod gauges;
mod horizon;
pub mod samples;
mod sightings;
mod stage;
mod trend;

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use database::Lent;
use event_store::read;
use event_store::relay::behind::Behind;
use events::Topic;
use futures::future::join_all;
use read_model::AnyProjection;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use crate::locks;
use crate::operations::stop;
use crate::pause::Pause;
use backlog::{Backlog, Lag, Stand, TIME_BUDGET};
pub(crate) use gauges::LagGauges;
use horizon::Horizon;
pub use horizon::OldSnapshot;
pub use stage::Stage;
pub(crate) use trend::Point;
pub use trend::{Direction, Trend, Unit};

/// What waits is counted up to here: so many, or more.
pub const COUNTED: i64 = 10_000;

/// Seconds without a sweep after which a projection counts as stopped.
const SILENT_AFTER_SECONDS: f64 = 15.0;

/// Seconds for which a try that failed counts, of a projection that is swept: the next one comes 5 s later at most.
const FAILING_SECONDS: f64 = 20.0;

/// The same, while what is late may still be on its way: something may have gone through since.
const JUST_FAILED_SECONDS: f64 = 8.0;

/// How long a worker that still gives signs of life waits for a lock until that is what holds it up.
const WAITED_SECONDS: f64 = 3.0;

/// Seconds after which a person asks why an event is not there.
const NOTICED_SECONDS: f64 = 5.0;

/// The time of one part of a measurement, if nobody says otherwise; all parts go side by side.
const LIMIT: Duration = Duration::from_secs(10);

/// A projection as seen from the store, on one of its topics: one that listens to two has two of these.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = ProjectionStatus)]
pub struct Status {
    pub name: String,
    pub topic: String,
    pub state: State,
    /// Events of the topic that are neither applied, nor skipped, nor parked, nor waiting behind a parked one.
    pub lag_events: i64,
    /// Age of the oldest of them; 0 if there is none.
    pub lag_seconds: f64,
    /// A long backlog has not been looked through yet: the lag is so much at most. Never less than the truth.
    pub lag_at_most: bool,
    pub settled_position: i64,
    /// What waits for a person, of the topic: parked events of the projection, and parked messages. 10,000: or more.
    pub parked: i64,
    /// Age of the oldest of it; 0 if there is nothing.
    pub parked_oldest_seconds: f64,
    /// Aggregates of the topic that wait behind a parked event. 10,000: or more.
    pub held_aggregates: i64,
    /// Ids that the projection remembers above the settled position, of all its topics. 10,000: or more.
    pub processed_event_ids: i64,
    pub generation: i32,
    /// Of the code that built what is read, and of this code.
    pub version: i32,
    #[serde(default)]
    pub code_version: i32,
    /// Nothing is applied to it until then, whatever its state is; absent: it is not paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
    /// When a worker looked at it last; `null`: none ever has.
    #[serde(default)]
    pub swept_at: Option<DateTime<Utc>>,
    /// What its worker waits for; absent: it is not blocked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<locks::Wait>,
    /// What its worker fails with; absent: its state is another than `failing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What holds up its oldest unsettled event; `null`: there is none, or it was not asked for.
    #[serde(default)]
    pub stage: Option<Stage>,
    /// When that event was appended.
    #[serde(default)]
    pub since: Option<DateTime<Utc>>,
    /// Better or worse, and done when; `null`: there is nothing from a minute before to compare with.
    #[serde(default)]
    pub trend: Option<Trend>,
}

/// What a worker that is there fails with, try after try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    pub error: String,
    pub since: DateTime<Utc>,
}

impl Status {
    /// Whether it is worth asking who waits for a lock: it is behind, and nobody has said why.
    fn may_wait_for_a_lock(&self) -> bool {
        self.state.is_silent() || self.state == State::Running && self.lag_seconds >= NOTICED_SECONDS
    }
}

#[cfg(test)]
impl Status {
    /// One that has nothing to do.
    pub(crate) fn idle() -> Self {
        Self {
            name: "orders".to_owned(),
            topic: "order-events".to_owned(),
            state: State::Running,
            lag_events: 0,
            lag_seconds: 0.0,
            lag_at_most: false,
            settled_position: 0,
            parked: 0,
            parked_oldest_seconds: 0.0,
            held_aggregates: 0,
            processed_event_ids: 0,
            generation: 1,
            version: 1,
            code_version: 1,
            paused: None,
            swept_at: None,
            blocked: None,
            failure: None,
            stage: None,
            since: None,
            trend: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ProjectionState)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A worker swept it lately.
    Running,
    /// A worker looked at it lately, and applies nothing, because a person said so.
    Paused,
    /// No worker did.
    Stopped,
    /// No worker did, because it waits for a lock that somebody else holds.
    Blocked,
    /// A worker is there, and what it writes fails, try after try.
    Failing,
    /// It was built by another version of its code; workers refuse to write to it.
    Outdated,
}

impl State {
    /// No worker has swept it lately, for whatever reason.
    fn is_silent(self) -> bool {
        matches!(self, Self::Stopped | Self::Failing)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Blocked => "blocked",
            Self::Failing => "failing",
            Self::Outdated => "outdated",
        }
    }
}

/// All that `GET /admin/v1/projections` says.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Report {
    pub store: Store,
    pub projections: Vec<Status>,
    /// What nothing can be said of now: projections, or the oldest snapshot. The rest is right all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmeasured: Vec<Unmeasured>,
    /// A person has stopped all operations; absent: nobody has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations_stopped: Option<Pause>,
    /// Topics whose relay has gone without giving its lease back, and has no successor: perhaps no event store runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unled: Vec<String>,
    pub observed_at: DateTime<Utc>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Store {
    pub head_position: i64,
    /// The oldest snapshot open in the database; see the runbook of `OldSnapshotOpen`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_snapshot: Option<OldSnapshot>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Unmeasured {
    pub name: String,
    /// Of a projection that listens to several, the others may be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    pub problem: String,
}

/// Measures again and again, and remembers what it need not look at twice. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Measurer {
    pool: PgPool,
    /// Each of them with each topic that it listens to.
    projections: Vec<(&'static dyn AnyProjection, &'static Topic)>,
    /// How long to look at a projection's backlog.
    patience: Duration,
    /// How long one part of a measurement may take before it counts as failed.
    limit: Duration,
    memory: Arc<Mutex<Memory>>,
}

#[derive(Debug)]
struct Memory {
    /// Of each projection, in their order.
    backlogs: Vec<Backlog>,
    horizon: Horizon,
}

/// Measures once, without remembering anything.
pub async fn report(pool: &PgPool, projections: &[&'static dyn AnyProjection]) -> Result<Report, read::Error> {
    Measurer::new(pool.clone(), projections.to_vec()).report().await
}

impl Measurer {
    pub fn new(pool: PgPool, projections: Vec<&'static dyn AnyProjection>) -> Self {
        let of_topics = |it: &'static dyn AnyProjection| it.topics().iter().map(move |topic| (it, *topic));
        let projections: Vec<_> = projections.into_iter().flat_map(of_topics).collect();
        let backlogs = projections.iter().map(|_| Backlog::default()).collect();
        let memory = Arc::new(Mutex::new(Memory { backlogs, horizon: Horizon::default() }));
        Self { pool, projections, patience: TIME_BUDGET, limit: LIMIT, memory }
    }

    /// Looks so long at each projection's backlog, and at one window more.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Takes at most so long, and leaves out what could not be measured by then.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        // First the store, then the projections side by side, then whom they wait for.
        let limit = limit / 3;
        Self { limit, patience: self.patience.min(limit / 2), ..self }
    }

    /// Measures now. What cannot be measured is named, and takes nothing else with it.
    ///
    /// # Errors
    /// The store cannot be read. It says who is in the way, if somebody is.
    pub async fn report(&self) -> Result<Report, read::Error> {
        let error = match self.measured().await {
            Err(read::Error::Database(sqlx::Error::Io(error))) if error.kind() == ErrorKind::TimedOut => error,
            measured => return measured,
        };
        let waits = in_time(self.limit, locks::waits(&self.pool, locks::MOST)).await.unwrap_or_default();
        let ours = waits.iter().find(|wait| wait.is_ours());
        Err(ours
            .map_or(sqlx::Error::Io(error), |wait| database::timed_out_because("measuring", &wait.held_up()))
            .into())
    }

    async fn measured(&self) -> Result<Report, read::Error> {
        // Another measurement may be at it.
        let mut memory = in_time(self.limit, async { Ok(self.memory.lock().await) }).await?;
        let Memory { backlogs, horizon } = &mut *memory;
        let pool = &self.pool;
        let store = async {
            // It is kept for who is in the way, because by then all others may be waiting.
            let mut db = Lent::by(pool).await?;
            let head = read::head(&mut *db).await?;
            let now = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(&mut *db).await?;
            let stopped = stop::standing(&mut *db).await?;
            Ok::<_, sqlx::Error>((head.0, now, stopped, db))
        };
        let (head, observed_at, operations_stopped, mut db) = in_time(self.limit, store).await?;
        let measuring = self.projections.iter().zip(backlogs).map(|((projection, topic), backlog)| async {
            let measured = in_time(self.limit, status(pool, *projection, topic, backlog, head, self.patience)).await;
            (projection.name(), topic.name, measured)
        });
        let (measured, oldest_snapshot) = tokio::join!(join_all(measuring), in_time(self.limit, horizon.measure(pool)));
        let mut report = Report {
            store: Store { head_position: head, oldest_snapshot: None },
            projections: Vec::with_capacity(measured.len()),
            unmeasured: Vec::new(),
            operations_stopped,
            unled: Vec::new(),
            observed_at,
        };
        let mut unmeasured = Vec::new();
        let mut failed = |name: &str, topic: Option<&str>, error| {
            let problem = database::describe(&error);
            tracing::warn!(name, topic, error = problem, "could not be measured");
            unmeasured.push(Unmeasured { name: name.to_owned(), topic: topic.map(str::to_owned), problem });
        };
        for (name, topic, measured) in measured {
            match measured {
                Ok(status) => report.projections.extend(status),
                Err(error) => failed(name, Some(topic), error),
            }
        }
        match oldest_snapshot {
            Ok(oldest) => report.store.oldest_snapshot = oldest,
            Err(error) => failed("oldest snapshot", None, error),
        }
        report.unmeasured = unmeasured;
        if !report.unmeasured.is_empty() || report.projections.iter().any(Status::may_wait_for_a_lock) {
            match in_time(self.limit, locks::waits(&mut *db, locks::MOST)).await {
                Ok(waits) => {
                    report.blocked(&waits);
                    db.give_back();
                }
                Err(error) => {
                    let problem = database::describe(&error);
                    tracing::warn!(error = problem, "who waits for a lock could not be found out");
                    report.unmeasured.push(Unmeasured { name: "locks".to_owned(), topic: None, problem });
                }
            }
        } else {
            db.give_back();
        }
        Ok(report)
    }
}

impl Report {
    /// A worker that waits for a lock is silent, and neither gone nor at fault. Whoever measures may have to wait, too.
    fn blocked(&mut self, waits: &[locks::Wait]) {
        if let Some(longest) = waits.iter().find(|wait| wait.is_ours()) {
            for it in &mut self.unmeasured {
                it.problem.push_str(&format!("; {}", longest.held_up()));
            }
        }
        for status in self.projections.iter_mut().filter(|it| it.may_wait_for_a_lock()) {
            // Whoever waits for a moment only is not blocked.
            let long = |wait: &&locks::Wait| status.state.is_silent() || wait.seconds >= WAITED_SECONDS;
            if let Some(wait) = waits.iter().filter(long).find(|wait| wait.holds_up(&status.name)) {
                (status.state, status.blocked, status.failure) = (State::Blocked, Some(wait.clone()), None);
            }
        }
    }

    /// Says of what is not settled what holds it up, since when, and whether it gets better since the sample before.
    pub fn explain(&mut self, relays: &[Behind], earlier: &[samples::Sample]) {
        let (head, now) = (self.store.head_position, self.observed_at);
        self.unled = relays.iter().filter(|it| !it.led && it.lapsed).map(|it| it.topic.clone()).collect();
        for status in &mut self.projections {
            let behind = relays.iter().find(|it| it.topic == status.topic);
            let unpublished = behind.filter(|behind| !behind.unknown).map(|behind| behind.seconds);
            if status.lag_events > 0 {
                let oldest = TimeDelta::milliseconds((status.lag_seconds * 1000.0) as i64);
                status.stage = Some(Stage::of(status.state, status.lag_seconds, unpublished));
                status.since = Some(now - oldest);
            }
            status.trend = earlier.iter().find(|sample| sample.is_of(status)).map(|sample| {
                let between = (now - sample.observed_at).as_seconds_f64();
                Trend::of(sample.point(), Point::of(status, head), between.max(0.001))
            });
        }
    }

    /// Seconds since a pause began, by the database's clock; 0: there is none.
    fn since(&self, pause: Option<&Pause>) -> f64 {
        pause.map_or(0.0, |pause| (self.observed_at - pause.since).as_seconds_f64().max(0.0))
    }
}

async fn in_time<T>(limit: Duration, measuring: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    tokio::time::timeout(limit, measuring).await.unwrap_or_else(|_| Err(database::timed_out("measuring")))
}

/// `None` if the projection has not been established yet.
async fn status(
    pool: &PgPool,
    projection: &dyn AnyProjection,
    topic: &'static Topic,
    backlog: &mut Backlog,
    head: i64,
    patience: Duration,
) -> sqlx::Result<Option<Status>> {
    let name = projection.name();
    let row = sqlx::query_file!("src/lag/status.sql", name, topic.name, COUNTED).fetch_optional(pool).await?;
    let Some(row) = row else { return Ok(None) };
    let stand = Stand {
        projection: name,
        aggregate_types: topic.aggregate_types,
        generation: row.generation,
        releases: row.releases,
        settled: row.settled_position,
        head,
    };
    let Lag { events, seconds, at_most } = backlog.measure(pool, &stand, patience).await?;
    let paused = Pause::of(row.pause_reason, row.paused_by, row.paused_at, row.until).filter(|_| row.paused);
    // A sweep of the future is from before the clock went back: a worker that lives would have written another.
    let silent = !row.silence.is_some_and(|silence| (0.0..SILENT_AFTER_SECONDS).contains(&silence));
    let counts = if seconds >= stage::ON_ITS_WAY { FAILING_SECONDS } else { JUST_FAILED_SECONDS };
    let fails_lately = row.failed_ago.is_some_and(|ago| ago < counts);
    let state = if row.version != projection.version() as i32 {
        State::Outdated
    } else if silent && row.failure.is_none() {
        State::Stopped
    } else if silent {
        State::Failing
    } else if paused.is_some() {
        State::Paused
    } else if fails_lately && seconds >= NOTICED_SECONDS {
        State::Failing
    } else {
        State::Running
    };
    let failure = row.failure.zip(row.failing_since).filter(|_| state == State::Failing);
    Ok(Some(Status {
        name: name.to_owned(),
        topic: topic.name.to_owned(),
        state,
        lag_events: events,
        lag_seconds: seconds,
        lag_at_most: at_most,
        settled_position: row.settled_position,
        parked: row.parked,
        parked_oldest_seconds: row.parked_oldest.max(0.0),
        held_aggregates: row.held,
        processed_event_ids: row.ids,
        generation: row.generation,
        version: row.version,
        code_version: projection.version() as i32,
        paused,
        swept_at: row.swept_at,
        blocked: None,
        failure: failure.map(|(error, since)| Failure { error, since }),
        stage: None,
        since: None,
        trend: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_lock_of_the_read_model_is_blocked_and_nobody_else() {
        let wait = |name: &str, schema: &str| locks::Wait {
            pid: 7,
            name: name.to_owned(),
            seconds: 20.0,
            waits_for: "the table orders.orders".to_owned(),
            schemas: vec!["public".to_owned(), schema.to_owned()],
            held_by: Vec::new(),
        };
        let state = |state, wait| {
            let mut report = Report {
                store: Store { head_position: 1, oldest_snapshot: None },
                projections: vec![Status { state, ..Status::idle() }],
                unmeasured: Vec::new(),
                operations_stopped: None,
                unled: Vec::new(),
                observed_at: DateTime::UNIX_EPOCH,
            };
            report.blocked(&[wait]);
            report.projections[0].state
        };
        assert_eq!(state(State::Stopped, wait("fleet", "orders")), State::Blocked);
        assert_eq!(state(State::Stopped, wait("psql", "orders")), State::Stopped, "a reader waits");
        assert_eq!(state(State::Stopped, wait("fleet", "bills")), State::Stopped, "another read model");
        assert_eq!(state(State::Running, wait("fleet", "orders")), State::Running);
        assert_eq!(state(State::Outdated, wait("fleet", "orders")), State::Outdated);
    }
}
