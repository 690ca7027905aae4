//! What happens by itself when the `VERSION` of a projection was raised. Building anew harms nobody, so that nobody has to be
//! asked; what readers see is changed by a person, but where a projection is being developed.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use read_model::AnyProjection;
use sqlx::PgPool;
use uuid::Uuid;

use super::gate::{self, NewPromote, Way};
use super::promote;
use super::rebuild::{self, NewRebuild, Refused};
use crate::apply::Applier;
use crate::audit::Attribution;
use crate::operations;

/// What happens by itself where this code has a higher version than the live generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Raised {
    /// Nothing.
    #[default]
    Ignored,
    /// A generation of this code is built beside the one that is read, and waits for a person to promote it. Once for each
    /// version: what a person has cancelled, taken back or retired is not begun again.
    Built,
    /// It is built and promoted, also if the version is lower. For development.
    Promoted,
}

impl Raised {
    /// Whether something is done about rows that another version of the code has built.
    pub fn builds(self, live: i32, ours: i32) -> bool {
        match self {
            Self::Ignored => false,
            Self::Built => ours > live,
            Self::Promoted => true,
        }
    }

    /// What stands in the way is said when it has for so long, and again as often. While something is developed, somebody looks.
    fn said_after(self) -> Duration {
        Duration::from_secs(if self == Self::Promoted { 5 } else { 30 })
    }

    /// What is done, as the log has it.
    pub fn says(self) -> &'static str {
        match self {
            Self::Ignored => "nothing is done about it",
            Self::Built => "this version is built beside the one that is read, and waits to be promoted",
            Self::Promoted => "this version is built beside the one that is read, and promoted when it is ready",
        }
    }
}

/// What stays as it is is said at least so often.
const SELDOM: Duration = Duration::from_secs(600);

/// What stands in the way of raised versions, as far as this process has seen.
#[derive(Debug)]
pub(super) struct Hindrances {
    /// This process. What has failed in it is tried again by the next one.
    run: Uuid,
    /// By projection: since when it was not said, and after which time it is.
    unsaid: Mutex<BTreeMap<&'static str, (Instant, Duration)>>,
}

impl Default for Hindrances {
    fn default() -> Self {
        Self { run: Uuid::now_v7(), unsaid: Mutex::default() }
    }
}

impl Hindrances {
    fn say(&self, projection: &'static str, what: Option<&str>, after: Duration) {
        let mut unsaid = self.unsaid.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(what) = what else {
            unsaid.remove(projection);
            return;
        };
        let (since, pause) = unsaid.entry(projection).or_insert_with(|| (Instant::now(), after));
        if since.elapsed() >= *pause {
            (*since, *pause) = (Instant::now(), (*pause * 2).min(SELDOM));
            tracing::warn!(
                projection,
                what,
                "this version of its code is not put in place, and what is read stands still until it is"
            );
        }
    }
}

/// Says which projections were built by an older version than this code, in their metric, and does what is to be done about it.
pub(super) async fn look(
    pool: &PgPool,
    appliers: &[Applier],
    raised: Raised,
    hindrances: &Hindrances,
) -> sqlx::Result<()> {
    let begun = older(pool, appliers).await?;
    for applier in appliers {
        let projection = applier.projection;
        let older = begun.get(projection.name());
        applier.metrics.observe_outdated(applier.topic, projection.name(), older.is_some());
        let hindrance = match (raised, older) {
            // A person has put one of this version in place, or had one put back: that is under way.
            (Raised::Promoted, _) if promote::wanted(applier).await?.is_some() => None,
            (Raised::Promoted, _) => refused(renew(pool, projection, hindrances.run).await)?,
            (Raised::Built, Some(false)) => refused(build(pool, projection).await)?,
            (Raised::Built | Raised::Ignored, _) => None,
        };
        hindrances.say(projection.name(), hindrance.as_deref(), raised.said_after());
    }
    Ok(())
}

/// Of each projection whose live generation an older version built: whether a generation of this code was ever begun.
async fn older(pool: &PgPool, appliers: &[Applier]) -> sqlx::Result<BTreeMap<String, bool>> {
    let names: Vec<_> = appliers.iter().map(|applier| applier.projection.name()).collect();
    let versions: Vec<_> = appliers.iter().map(|applier| applier.projection.version() as i32).collect();
    let rows = sqlx::query_file!("src/generations/raised.sql", &names as &[&str], &versions).fetch_all(pool).await?;
    Ok(rows.into_iter().map(|row| (row.projection, row.begun)).collect())
}

/// What stands in the way, if something does.
type Hindrance = Option<String>;

fn refused(done: Result<Hindrance, Refused>) -> sqlx::Result<Hindrance> {
    match done {
        Err(Refused::Database(error)) => Err(error),
        Err(refused) => Ok(Some(refused.to_string())),
        Ok(hindrance) => Ok(hindrance),
    }
}

fn by(plan: &rebuild::Plan) -> Attribution {
    Attribution {
        actor: "fleet".to_owned(),
        reason: format!("version {} of the code, after {}", plan.version, plan.live_version),
    }
}

/// Has it built, once.
async fn build(pool: &PgPool, projection: &dyn AnyProjection) -> Result<Hindrance, Refused> {
    let plan = rebuild::plan(pool, projection).await?;
    if plan.live_version >= plan.version {
        return Ok(None);
    }
    if let Some((operation, version)) = plan.under_way {
        // Somebody may still want what was built. Only people know.
        return Ok((version != plan.version).then(|| {
            format!("operation {operation}, a rebuild of version {version}, is in its way: promote that, or cancel it")
        }));
    }
    let name = projection.name();
    // However many workers look, and also if it was cancelled before it was begun.
    let idempotency_key = Some(format!("raised.{name}.{}", plan.version));
    let (from, to, by) = (plan.live_version, plan.version, by(&plan));
    let new = NewRebuild { parts: 1, rate: None, plan_token: plan.plan_token, by, idempotency_key };
    let operation = rebuild::ask(pool, projection, &new).await?;
    // Before a worker had begun it, so that no generation says that it was.
    if let Some(over) = over(pool, operation).await? {
        return Ok(Some(format!("{over}; it is not begun again by itself: ask for a rebuild")));
    }
    tracing::warn!(
        projection = name,
        from,
        to,
        %operation,
        "its version was raised: it is built anew beside what is read, and waits to be promoted; until then the code that built \
         what is read has to go on"
    );
    Ok(None)
}

/// How a rebuild has ended, if it has.
async fn over(pool: &PgPool, operation: Uuid) -> sqlx::Result<Option<String>> {
    let asked = operations::get(pool, operation).await?.filter(|asked| asked.finished_at.is_some());
    Ok(asked.map(|asked| {
        let why = asked.error.map_or(String::new(), |error| format!(": {error}"));
        format!("operation {operation}, its rebuild, ended as {}{why}", asked.state.as_str())
    }))
}

/// The next thing that is to be done about it.
async fn renew(pool: &PgPool, projection: &dyn AnyProjection, run: Uuid) -> Result<Hindrance, Refused> {
    let plan = rebuild::plan(pool, projection).await?;
    if plan.live_version == plan.version {
        return Ok(None);
    }
    let by = by(&plan);
    let name = projection.name();
    match gate::look(pool, projection, Way::Promote, None).await {
        Ok(gate) if gate.version == plan.version => {
            if gate.refusals.is_empty() {
                let (generation, plan_token) = (Some(gate.generation), gate.plan_token.clone());
                // However often it is looked at, it is one promote.
                let idempotency_key = Some(format!("renewed.{}", gate.plan_token));
                let new = NewPromote { way: Way::Promote, generation, plan_token, by, idempotency_key };
                gate::ask(pool, projection, &new).await?;
                return Ok(None);
            }
            return Ok(Some(gate.refusals.join("; ")));
        }
        Ok(_) | Err(Refused::Impossible(_)) => {}
        Err(refused) => return Err(refused),
    }
    if let Some((operation, version)) = plan.under_way {
        if version != plan.version {
            // Where one program runs, nobody has its code any more.
            rebuild::cancel(pool, operation, &by).await?;
            tracing::info!(projection = name, version, %operation, "the rebuild of another version is cancelled");
        }
        return Ok(None);
    }
    let (from, to) = (plan.live_version, plan.version);
    let idempotency_key = Some(format!("renew.{run}.{}", plan.plan_token));
    let new = NewRebuild { parts: 1, rate: None, plan_token: plan.plan_token, by, idempotency_key };
    let operation = rebuild::ask(pool, projection, &new).await?;
    if let Some(over) = over(pool, operation).await? {
        return Ok(Some(format!("{over}; mend it, and start again")));
    }
    let changed = if to > from { "raised" } else { "lowered" };
    tracing::info!(
        projection = name,
        from,
        to,
        "its version was {changed}: it is built anew, and put in place when it is through"
    );
    Ok(None)
}
