//! What people have asked for and is not over, and what waits for people: measured from the store at each scrape.

use chrono::{DateTime, Utc};
use event_store::relay::behind::{self, Behind};
use events::{Position, Topic};
use futures::future::join_all;
use read_model::Catalogue;
use sqlx::PgPool;

use crate::generations::{self, Eta, Generation};
use crate::operations::{self, Operation, State};

/// Operations that are looked at. There is one of most kinds for a projection, and few people.
const MOST: i64 = 200;

/// Generations of a projection that are looked at: the newest.
const NEWEST: i64 = 10;

/// Kinds of operations that take their time.
pub(crate) const KINDS: [&str; 6] = ["repair", "retry", "discard", "rebuild", "verify", "as_of"];

/// The states of those that are not over.
pub(crate) const STATES: [State; 4] = [State::Pending, State::Running, State::Paused, State::Waiting];

/// As of one scrape.
#[derive(Debug)]
pub struct UnderWay {
    pub(crate) relays: Vec<Behind>,
    pub(crate) operations: Vec<Operation>,
    pub(crate) projections: Vec<Standing>,
    /// Projections with a rebuild that never catches up with the store as it is.
    pub(crate) diverging: Vec<String>,
}

/// Where a projection waits for a person.
#[derive(Debug)]
pub(crate) struct Standing {
    pub name: String,
    /// For how long a generation has been ready; 0: none is.
    pub ready_seconds: f64,
    /// What the last verification of the live generation found to differ.
    pub differences: i64,
    /// When that ended, if there was one.
    pub verified_at: Option<DateTime<Utc>>,
}

/// # Errors
/// The database's.
pub async fn look(pool: &PgPool, catalogue: &Catalogue) -> sqlx::Result<UnderWay> {
    let (relays, operations, projections) = tokio::try_join!(
        relays(pool, catalogue.topics()),
        operations::unfinished(pool, MOST),
        standing(pool, catalogue)
    )?;
    let diverging = diverging(pool, &operations).await?;
    Ok(UnderWay { relays, operations, projections, diverging })
}

/// Projections with a rebuild among these operations that never catches up with the store as it is.
///
/// # Errors
/// The database's.
pub async fn diverging(pool: &PgPool, operations: &[Operation]) -> sqlx::Result<Vec<String>> {
    let rebuilding = |operation: &&Operation| operation.kind == "rebuild" && operation.state == State::Running;
    let diverging = operations.iter().filter(rebuilding).map(|operation| diverges(pool, operation));
    let diverging = join_all(diverging).await.into_iter().collect::<sqlx::Result<Vec<_>>>()?;
    Ok(diverging.into_iter().flatten().collect())
}

/// The projection, if what is built for this operation never catches up with the store as it is.
async fn diverges(pool: &PgPool, rebuild: &Operation) -> sqlx::Result<Option<String>> {
    let Some(projection) = &rebuild.projection else { return Ok(None) };
    let diverges = |generation: &Generation| {
        generation.operation == Some(rebuild.id)
            && generation.standing == generations::Standing::Building
            && generation.eta == Some(Eta::DoesNotConverge)
    };
    let generations = generations::list(pool, projection, NEWEST).await?;
    Ok(generations.iter().any(diverges).then(|| projection.clone()))
}

/// How far each topic's relay is behind.
///
/// # Errors
/// The database's.
pub async fn relays(pool: &PgPool, topics: &[&'static Topic]) -> sqlx::Result<Vec<Behind>> {
    let head: Position = event_store::read::head(pool).await?;
    join_all(topics.iter().map(|topic| behind::behind(pool, topic, head))).await.into_iter().collect()
}

pub(crate) async fn standing(pool: &PgPool, catalogue: &Catalogue) -> sqlx::Result<Vec<Standing>> {
    let names: Vec<_> = catalogue.projections().iter().map(|projection| projection.name()).collect();
    sqlx::query_file_as!(Standing, "src/under_way/standing.sql", &names as &[&str]).fetch_all(pool).await
}

impl UnderWay {
    /// How many operations of a kind are in a state.
    pub(crate) fn count(&self, kind: &str, state: State) -> i64 {
        let such = self.operations.iter().filter(|operation| operation.kind == kind && operation.state == state);
        such.count() as i64
    }

    /// For how long the one of a kind that has stood still longest has, in seconds.
    pub(crate) fn stalled(&self, kind: &str) -> f64 {
        let of_kind = self.operations.iter().filter(|operation| operation.kind == kind);
        let seconds = of_kind.filter_map(|operation| operation.stalled.as_ref()).map(|stalled| stalled.seconds);
        seconds.fold(0.0, f64::max)
    }
}
