//! Replay of kind repair: sends a selection of the store through [`apply`](crate::apply) once more.
//!
//! The gate makes settled events no-ops, so that a repair can be repeated, overlap with another, be killed, and run
//! beside live traffic. The API only writes the intention, a row of `operations`; a worker of the projection's topic
//! makes it true, page by page, and another goes on where it stopped if it dies.

mod path;
mod selection;
mod store;

use std::sync::Arc;
use std::time::Duration;

use event_store::{database, read};
use events::Position;
use kill_points::kill_point;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use selection::{Invalid, Range, Selection};
pub use store::{NewReplay, Plan, create, plan};

use crate::apply::{self, Applier, Mode, Tally};
use crate::retry;
use crate::verdict::Event;
use path::Path;
use store::Claim;

/// Positions read at a time.
const WINDOW: i64 = 5000;

/// Events read at a time that an index leads to.
const BATCH: i64 = 1000;

/// How often a worker looks for operations to run.
const POLL: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Read(#[from] read::Error),
    #[error(transparent)]
    Apply(#[from] apply::Error),
}

impl Error {
    fn is_transient(&self) -> bool {
        match self {
            Self::Read(read::Error::Database(error)) => database::is_transient(error),
            Self::Read(read::Error::Gap { .. }) => false,
            Self::Apply(error) => error.is_transient(),
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Read(error.into())
    }
}

/// Runs the replays of some projections, one at a time.
pub struct Replays {
    appliers: Vec<Applier>,
    runner: Uuid,
}

impl Replays {
    pub fn of(appliers: &[Applier]) -> Self {
        Self { appliers: appliers.to_vec(), runner: Uuid::now_v7() }
    }

    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let ran = retry::until_done("running a replay", &stop, || self.run_one(&stop)).await;
            if ran == Some(false) {
                stop.run_until_cancelled(tokio::time::sleep(POLL)).await;
            }
        }
    }

    /// Runs the oldest replay that nobody runs; `false` if there is none.
    async fn run_one(&self, stop: &CancellationToken) -> Result<bool, Error> {
        let Some(first) = self.appliers.first() else { return Ok(false) };
        let names: Vec<_> = self.appliers.iter().map(|applier| applier.projection.name()).collect();
        let Some(claim) = store::claim(&first.pool, self.runner, &names).await? else { return Ok(false) };
        let Some(applier) = self.appliers.iter().find(|applier| applier.projection.name() == claim.projection) else {
            return Ok(false);
        };
        let mut position = claim.position;
        let path = Path::to(&claim.selection, position, claim.upto, &applier.pool).await?;
        tracing::info!(operation = %claim.id, projection = claim.projection, ?path, "replay: running");
        kill_point!("replay.claimed");
        while position < claim.upto {
            if stop.is_cancelled() {
                // Another worker, or this one after its restart, goes on from the last page.
                store::release(&applier.pool, claim.id, self.runner).await?;
                return Ok(true);
            }
            let page = database::heard("replaying", self.page(applier, &claim, path, position));
            let (next, seen, tally) = match page.await {
                Err(error) if !error.is_transient() => {
                    tracing::error!(operation = %claim.id, projection = claim.projection, %error, "replay: failed");
                    store::fail(&applier.pool, claim.id, self.runner, &error.to_string()).await?;
                    return Ok(true);
                }
                page => page?,
            };
            kill_point!("replay.applied");
            position = next;
            if !store::progress(&applier.pool, claim.id, self.runner, position, seen, tally).await? {
                tracing::warn!(operation = %claim.id, "replay: another worker took it over");
                return Ok(true);
            }
            kill_point!("replay.noted");
        }
        store::succeed(&applier.pool, claim.id, self.runner).await?;
        kill_point!("replay.succeeded");
        tracing::info!(operation = %claim.id, projection = claim.projection, "replay: succeeded");
        Ok(true)
    }

    /// Applies the next events of the selection; how far that is, and how many they were.
    async fn page(
        &self,
        applier: &Applier,
        claim: &Claim,
        path: Path,
        after: Position,
    ) -> Result<(Position, u64, Tally), Error> {
        let (events, upto) = match path {
            Path::Positions => window(applier, claim, after).await?,
            path => selected(applier, claim, path, after).await?,
        };
        let seen = events.len() as u64;
        let tally = if events.is_empty() { Tally::default() } else { applier.apply(&events, Mode::Replay).await? };
        Ok((upto, seen, tally))
    }
}

/// What is selected of the next positions.
async fn window(applier: &Applier, claim: &Claim, after: Position) -> Result<(Vec<Event>, Position), Error> {
    let filter = claim.selection.filter(applier.projection.topic());
    let page = read::page(&applier.pool, after, claim.upto, WINDOW, &filter).await?;
    let included = page.events.into_iter().filter(|event| claim.selection.includes(event.occurred_at));
    Ok((included.map(Arc::new).collect(), page.upto))
}

/// The next events that an index leads to.
async fn selected(
    applier: &Applier,
    claim: &Claim,
    path: Path,
    after: Position,
) -> Result<(Vec<Event>, Position), Error> {
    let projection = applier.projection;
    let range = (after, claim.upto);
    let found = path.page(&applier.pool, projection.name(), projection.topic(), &claim.selection, range, BATCH).await?;
    let upto = found.last().filter(|_| found.len() as i64 == BATCH).map_or(claim.upto, |last| last.position);
    let ids: Vec<_> = found.into_iter().map(|selected| selected.event_id).collect();
    let events = read::by_id(&applier.pool, &ids).await?;
    Ok((events.into_iter().map(Arc::new).collect(), upto))
}
