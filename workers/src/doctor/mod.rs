//! The questions of whoever is on call, in their order: is data late, which stage holds it up, since when, is it getting better,
//! when is it done, what was changed lately, is anything set aside. Whether anything is lost takes counting, which is
//! [`losses`](crate::losses).
//!
//! It ends within 3 s whatever becomes of the database. What could not be found out by then is named, and is not good.

mod symptoms;

use std::cmp::Reverse;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use database::Lent;
use event_store::relay::behind::Behind;
use event_store::relay::refused;
use event_store::unreadable;
use events::Position;
use read_model::Catalogue;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::time::{Instant, sleep_until, timeout};
use utoipa::ToSchema;
use uuid::Uuid;

pub use symptoms::{Symptom, of_losses};

use crate::audit::{self, Entry};
use crate::generations;
use crate::generations::gate::{self, Gate, Way};
use crate::generations::rebuild::Refused;
use crate::lag::samples::{self, Sample};
use crate::lag::{Measurer, Point, Report, Status, Trend, Unmeasured};
use crate::locks::{self, Busy, Wait};
use crate::operations::{self, Operation};
use crate::pause::Pause;
use crate::under_way;

/// How long each of the two measurements may take, and whatever goes on beside them.
const LIMIT: Duration = Duration::from_millis(900);

/// From one measurement to the other.
const BETWEEN: Duration = Duration::from_secs(1);

/// How long ago "lately" begins.
const LATELY: TimeDelta = TimeDelta::hours(24);

/// Operations that are over, and entries of the audit log, that are looked at.
const LISTED: i64 = 20;

/// Operations that are not over, refused messages and unreadable events that are looked at.
const COUNTED: i64 = 100;

/// What is not known if nothing could be measured.
const LATE: &str = "whether data is late";

/// All answers; each with the time of its measurement.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Diagnosis {
    /// A read model whose oldest unsettled event is older is late.
    pub late_after_seconds: f64,
    pub lateness: Option<Lateness>,
    pub relays: Option<Relays>,
    pub changes: Option<Changes>,
    pub set_aside: Option<SetAside>,
    /// Others that have kept the database busy for a while; `null`: not known.
    #[serde(default)]
    pub busy: Option<Vec<Busy>>,
    /// For what a session of the fleet waits, if some of it could not be found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_the_way: Option<Wait>,
    /// What could not be found out, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<Unknown>,
    /// What is wrong, what to do something about first.
    pub symptoms: Vec<Symptom>,
}

/// What could not be found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unknown {
    pub what: String,
    pub problem: String,
}

/// Is data late, which stage, since when, better or worse, done when.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Lateness {
    pub observed_at: DateTime<Utc>,
    pub head_position: i64,
    /// A person has stopped all operations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations_stopped: Option<Pause>,
    /// Each projection, with each topic that it listens to.
    pub projections: Vec<ProjectionLateness>,
    /// Those of which it is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmeasured: Vec<Unmeasured>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProjectionLateness {
    #[serde(flatten)]
    pub status: Status,
    pub late: bool,
}

/// Is everything published.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Relays {
    pub observed_at: DateTime<Utc>,
    pub topics: Vec<Behind>,
}

/// What was changed lately. The newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Changes {
    pub observed_at: DateTime<Utc>,
    /// Since when, but for operations that are not over: those are shown however old they are.
    pub since: DateTime<Utc>,
    pub operations: Vec<Operation>,
    /// Projections with a rebuild that would never end, because the store grows faster.
    #[serde(default)]
    pub diverging: Vec<String>,
    /// Projections of which the last verification has found what is read to be wrong, however long ago.
    #[serde(default)]
    pub differing: Vec<Differing>,
    /// When the rows of each projection were last compared with the store, as they are read now.
    #[serde(default)]
    pub compared: Vec<Compared>,
    /// Rebuilds of which a step fails, and is tried until it succeeds.
    #[serde(default)]
    pub failing: Vec<FailingRebuild>,
    /// Rebuilds that are built and not put in place.
    #[serde(default)]
    pub ready: Vec<Ready>,
    pub audit: Vec<Entry>,
}

/// What is read, and is not what the store folds to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Differing {
    pub projection: String,
    pub differences: i64,
}

/// What the last verification of the generation that is read has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = LastCompared)]
pub struct Compared {
    pub projection: String,
    /// When it ended; `null`: there was none.
    pub at: Option<DateTime<Utc>>,
    pub differences: i64,
}

/// A generation that is built, and waits to be promoted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ready {
    pub projection: String,
    pub generation: i32,
    /// Of its rebuild.
    pub operation: Uuid,
    /// Why a promote would be refused now.
    pub refusals: Vec<String>,
}

/// A generation that is being built, and a step of it does not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailingRebuild {
    pub projection: String,
    pub operation: Uuid,
    /// As whoever builds it says it.
    pub error: String,
}

/// What the fleet went on without, lately; what is parked stands with its projection. 100: or more.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SetAside {
    pub observed_at: DateTime<Utc>,
    pub since: DateTime<Utc>,
    /// Messages that the bus never took: other consumers do not get them.
    pub refused_messages: i64,
    /// Events that no reader can be given.
    pub unreadable_events: i64,
}

/// Asks all of it. Data is late if an unsettled event is older than `late_after` seconds.
pub async fn diagnose(pool: &PgPool, catalogue: &Catalogue, late_after: f64) -> Diagnosis {
    // For who is in the way, because by then all others may be waiting.
    let spare = in_time(Lent::by(pool)).await.ok();
    let (measured, relays, changes, set_aside, busy) = tokio::join!(
        measure(pool, catalogue),
        in_time(relays(pool, catalogue)),
        in_time(changes(pool, catalogue)),
        in_time(set_aside(pool)),
        in_time(locks::busy(pool)),
    );
    let mut unknown = Vec::new();
    let mut known = |what: &str, problem: String| unknown.push(Unknown { what: what.to_owned(), problem });
    let relays = relays.map_err(|problem| known("the relays", problem)).ok();
    let changes = changes.map_err(|problem| known("what was changed lately", problem)).ok();
    let set_aside = set_aside.map_err(|problem| known("what was set aside", problem)).ok();
    let busy = busy.map_err(|problem| known("who else is at work in the database", problem)).ok();
    let lateness = match measured {
        Ok((before, now)) => {
            if let Err(problem) = &before {
                known("whether it gets better", problem.clone());
            }
            for it in &now.unmeasured {
                let on = it.topic.as_ref().map_or(String::new(), |topic| format!(" on {topic}"));
                known(&format!("{}{on}", it.name), it.problem.clone());
            }
            for projection in catalogue.projections() {
                let name = projection.name();
                let measured = now.projections.iter().any(|status| status.name == name);
                if !measured && !now.unmeasured.iter().any(|it| it.name == name) {
                    known(name, "it is not in the database yet: run fleet migrate".to_owned());
                }
            }
            let earlier = in_time(samples::earlier(pool, now.observed_at)).await.unwrap_or_default();
            Some(Lateness::of(before.ok().as_ref(), now, relays.as_ref(), &earlier, late_after))
        }
        Err(problem) => {
            known(LATE, problem);
            None
        }
    };
    // What could not be measured says so itself.
    let given_up = relays.is_none() || changes.is_none() || set_aside.is_none() || busy.is_none();
    let measured = lateness.as_ref().is_some_and(|lateness| lateness.unmeasured.is_empty());
    let mut in_the_way = None;
    match spare {
        Some(mut db) if given_up && measured => {
            if let Ok(waits) = in_time(locks::waits(&mut *db, locks::MOST)).await {
                in_the_way = waits.into_iter().find(Wait::is_ours);
                db.give_back();
            }
        }
        Some(db) => db.give_back(),
        None => {}
    }
    let mut diagnosis = Diagnosis {
        late_after_seconds: late_after,
        lateness,
        relays,
        changes,
        set_aside,
        busy,
        unknown,
        in_the_way,
        symptoms: Vec::new(),
    };
    diagnosis.symptoms = symptoms::of(&diagnosis);
    diagnosis
}

async fn in_time<T>(asking: impl Future<Output = sqlx::Result<T>>) -> Result<T, String> {
    match timeout(LIMIT, asking).await {
        Ok(asked) => asked.map_err(|error| database::describe(&error)),
        Err(_) => Err(format!("not within {} s", LIMIT.as_secs_f32())),
    }
}

/// Two measurements, of which the first may fail. Who asks brings a memory of his own: nobody waits for another's.
async fn measure(pool: &PgPool, catalogue: &Catalogue) -> Result<(Result<Report, String>, Report), String> {
    let measurer = Measurer::new(pool.clone(), catalogue.projections().to_vec()).within(LIMIT.mul_f64(0.9));
    let once = async || match timeout(LIMIT, measurer.report()).await {
        Ok(report) => report.map_err(|error| error.to_string()),
        Err(_) => Err(format!("not within {} s", LIMIT.as_secs_f32())),
    };
    let again = Instant::now() + BETWEEN;
    let before = once().await;
    sleep_until(again).await;
    Ok((before, once().await?))
}

async fn relays(pool: &PgPool, catalogue: &Catalogue) -> sqlx::Result<Relays> {
    let observed_at = now(pool).await?;
    Ok(Relays { observed_at, topics: under_way::relays(pool, catalogue.topics()).await? })
}

async fn changes(pool: &PgPool, catalogue: &Catalogue) -> sqlx::Result<Changes> {
    let observed_at = now(pool).await?;
    let since = observed_at - LATELY;
    let mut operations = operations::unfinished(pool, COUNTED).await?;
    let diverging = under_way::diverging(pool, &operations).await?;
    let standing = under_way::standing(pool, catalogue).await?;
    let compared: Vec<_> = standing
        .into_iter()
        .map(|it| Compared { projection: it.name, at: it.verified_at, differences: it.differences })
        .collect();
    let differing = compared.iter().filter(|it| it.differences > 0);
    let differing = differing.map(|it| Differing { projection: it.projection.clone(), differences: it.differences });
    let differing = differing.collect();
    let (ready, failing) = (ready(pool, catalogue, &operations).await?, failing(pool, &operations).await?);
    let over = operations::list(pool, None, LISTED).await?;
    operations.extend(over.into_iter().filter(|operation| operation.finished_at.is_some_and(|at| at >= since)));
    operations.sort_by_key(|operation| Reverse(operation.id));
    let mut audit = audit::list(pool, None, LISTED).await?;
    audit.retain(|entry| entry.at >= since);
    Ok(Changes { observed_at, since, operations, diverging, differing, compared, failing, ready, audit })
}

async fn failing(pool: &PgPool, operations: &[Operation]) -> sqlx::Result<Vec<FailingRebuild>> {
    let mut failing = Vec::new();
    for rebuild in operations.iter().filter(|it| it.kind == "rebuild" && it.state == operations::State::Running) {
        let Some(projection) = &rebuild.projection else { continue };
        let generations = generations::list(pool, projection, COUNTED).await?;
        let pace = generations.into_iter().filter(|it| it.operation == Some(rebuild.id)).flat_map(|it| it.pace);
        let error = pace.filter_map(|pace| pace.strip_prefix("failing: ").map(str::to_owned)).next();
        failing.extend(error.map(|error| FailingRebuild {
            projection: projection.clone(),
            operation: rebuild.id,
            error,
        }));
    }
    Ok(failing)
}

async fn ready(pool: &PgPool, catalogue: &Catalogue, operations: &[Operation]) -> sqlx::Result<Vec<Ready>> {
    let mut ready = Vec::new();
    for built in operations.iter().filter(|it| it.kind == "rebuild" && it.state == operations::State::Waiting) {
        let projection = built.projection.as_ref().and_then(|name| catalogue.projection(name));
        let Some((projection, generation)) = projection.zip(built.generation) else { continue };
        match gate::look(pool, projection, Way::Promote, Some(generation)).await {
            Ok(Gate { projection, refusals, .. }) => {
                ready.push(Ready { projection, generation, operation: built.id, refusals });
            }
            Err(Refused::Database(error)) => return Err(error),
            // It was retired a moment ago.
            Err(_) => {}
        }
    }
    Ok(ready)
}

async fn set_aside(pool: &PgPool) -> sqlx::Result<SetAside> {
    let observed_at = now(pool).await?;
    let since = observed_at - LATELY;
    let refused = refused::list(pool, None, None::<Position>, COUNTED).await?;
    let unreadable = unreadable::list(pool, None, COUNTED).await?;
    Ok(SetAside {
        observed_at,
        since,
        refused_messages: refused.iter().filter(|message| message.refused_at >= since).count() as i64,
        unreadable_events: unreadable.iter().filter(|finding| finding.found_at >= since).count() as i64,
    })
}

async fn now(pool: &PgPool) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(pool).await
}

impl Lateness {
    /// The names of what could not be measured.
    pub fn unmeasured(&self) -> String {
        let mut names: Vec<_> = self.unmeasured.iter().map(|it| &*it.name).collect();
        names.dedup();
        names.join(", ")
    }

    /// `before` is of a moment ago: what there is to compare with if no sample is.
    fn of(
        before: Option<&Report>,
        mut now: Report,
        relays: Option<&Relays>,
        earlier: &[Sample],
        late_after: f64,
    ) -> Self {
        now.explain(relays.map_or(&[], |relays| &relays.topics), earlier);
        let head = now.store.head_position;
        let lateness_of = |mut status: Status| {
            if let (None, Some(before)) = (&status.trend, before) {
                let of_one = |it: &&Status| (&it.name, &it.topic) == (&status.name, &status.topic);
                let between = (now.observed_at - before.observed_at).as_seconds_f64().max(0.001);
                status.trend =
                    before.projections.iter().find(of_one).map(|it| {
                        Trend::of(Point::of(it, before.store.head_position), Point::of(&status, head), between)
                    });
            }
            ProjectionLateness { late: status.lag_events > 0 && status.lag_seconds > late_after, status }
        };
        Self {
            observed_at: now.observed_at,
            head_position: head,
            operations_stopped: now.operations_stopped,
            projections: now.projections.into_iter().map(lateness_of).collect(),
            unmeasured: now.unmeasured.into_iter().filter(|it| it.topic.is_some()).collect(),
        }
    }
}
