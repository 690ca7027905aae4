//! Replay of kind repair: sends a selection of the store through [`apply`](mod@crate::apply) once more.
//!
//! The gate makes settled events no-ops, so that a repair can be repeated, overlap with another, be killed, and run
//! beside live traffic. The API only writes the intention, a row of `operations`; a worker of the projection's topic
//! makes it true, page by page, and another goes on where it stopped if it dies.

mod path;
mod selection;
mod store;

use std::future::Future;
use std::time::{Duration, Instant};

use event_store::read;
use events::Position;
use futures::stream::{self, StreamExt};
use kill_points::kill_point;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use selection::{Range, Selection};
pub use store::{NewReplay, Plan, create, plan};

use crate::apply::{self, Applier, Chunk, Mode, Tally};
use crate::retry;
use crate::verdict::Event;
use path::Path;
use store::{Claim, Wanted};

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

impl Error {
    /// It is claimed again when the projection is not paused any more.
    fn is_paused(&self) -> bool {
        matches!(self, Self::Apply(error) if error.is_paused())
    }

    /// Fewer positions may go through.
    fn is_too_much(&self) -> bool {
        match self {
            Self::Read(read::Error::Database(error)) => database::is_too_much(error),
            Self::Read(read::Error::Gap { .. }) => false,
            Self::Apply(error) => error.is_too_much(),
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Read(error.into())
    }
}

/// Replays that run at the same time.
const SIDE_BY_SIDE: usize = 4;

/// Between two signs of life while a page takes long; others wait for three of them.
const BEAT: Duration = Duration::from_secs(10);

/// How long a replay goes on before another that waits has its turn, and how long one that failed keeps its place.
const TURN: Duration = Duration::from_secs(5);

/// Runs the replays of some projections, some of them side by side. More take turns.
///
/// Each turn is under a claim of its own. A claim that was lost, to another process or by a jump of the clock, stops at the
/// next page or sign of life; what two did of the same page has one effect, as everything that is applied twice.
pub struct Replays {
    appliers: Vec<Applier>,
}

/// How often a replay that rests for its rate looks whether that is still wanted.
const LOOK: Duration = Duration::from_secs(1);

impl Replays {
    pub fn of(appliers: &[Applier]) -> Self {
        Self { appliers: appliers.to_vec() }
    }

    pub async fn run(self, stop: CancellationToken) {
        let claims = stream::unfold((), |()| async { Some((self.next(&stop).await?, ())) });
        claims.for_each_concurrent(SIDE_BY_SIDE, |claim| self.serve(claim, &stop)).await;
    }

    /// Waits for a replay that nobody runs; `None` if stopped.
    async fn next(&self, stop: &CancellationToken) -> Option<Claim> {
        loop {
            if let Some(claim) = retry::until_done("looking for replays", stop, || self.claim()).await? {
                return Some(claim);
            }
            stop.run_until_cancelled(tokio::time::sleep(POLL)).await?;
        }
    }

    async fn claim(&self) -> sqlx::Result<Option<Claim>> {
        let Some(first) = self.appliers.first() else { return Ok(None) };
        store::claim(&first.pool, Uuid::now_v7(), &self.names()).await
    }

    fn names(&self) -> Vec<&'static str> {
        self.appliers.iter().map(|applier| applier.projection.name()).collect()
    }

    /// A turn of a replay.
    async fn serve(&self, claim: Claim, stop: &CancellationToken) {
        let Some(applier) = self.appliers.iter().find(|applier| applier.projection.name() == claim.projection) else {
            return;
        };
        let Err(error) = self.run_claimed(applier, &claim, stop).await else { return };
        tracing::warn!(operation = %claim.id, projection = claim.projection, %error, "replay: failed; it goes on later");
        stop.run_until_cancelled(tokio::time::sleep(TURN)).await;
        if let Err(error) = store::release(&applier.pool, claim.id, claim.runner).await {
            // Its silence releases it.
            tracing::debug!(operation = %claim.id, error = %database::describe(&error), "replay: not given back");
        }
    }

    async fn run_claimed(&self, applier: &Applier, claim: &Claim, stop: &CancellationToken) -> Result<(), Error> {
        let began = Instant::now();
        let mut position = claim.position;
        let mut window = WINDOW;
        let mut rate = claim.rate;
        let path = Path::to(&claim.selection, position, claim.upto, &applier.pool);
        let path = database::with_deadline("choosing a way", path).await?;
        tracing::info!(operation = %claim.id, projection = claim.projection, ?path, "replay: running");
        kill_point!("replay.claimed");
        let mut read: Option<Chunk> = None;
        while position < claim.upto {
            if stop.is_cancelled() {
                // Another worker, or this one after its restart, goes on from the last page.
                return Ok(store::release(&applier.pool, claim.id, claim.runner).await?);
            }
            if began.elapsed() >= TURN && store::give_way(&applier.pool, claim.id, claim.runner, &self.names()).await? {
                return Ok(());
            }
            let started = Instant::now();
            // As much as goes through in a second, so that it can rest after it.
            let most = rate.map_or(usize::MAX, |rate| (rate as usize).max(1));
            let step = async {
                let chunk = match read.take() {
                    Some(chunk) => chunk,
                    None => next(applier, claim, path, position, window).await?,
                };
                let (now, rest) = chunk.split(most);
                let tally = apply(applier, &now.events).await?;
                Ok::<_, Error>((now.upto, now.events.len() as u64, tally, rest))
            };
            let step = database::with_deadline("replaying", step);
            let (upto, seen, tally, rest) = match self.alive(applier, claim, step).await {
                Ok(Some(done)) => done,
                Ok(None) => {
                    taken_over(claim);
                    return Ok(());
                }
                Err(error) if error.is_too_much() && window > 1 => {
                    window /= 2;
                    tracing::warn!(operation = %claim.id, %error, window, "replay: fewer positions at a time");
                    continue;
                }
                Err(error) if error.is_paused() => {
                    tracing::info!(operation = %claim.id, %error, "replay: waits");
                    return Ok(store::release(&applier.pool, claim.id, claim.runner).await?);
                }
                Err(error) if !error.is_transient() => {
                    tracing::error!(operation = %claim.id, projection = claim.projection, %error, "replay: failed");
                    return Ok(store::fail(&applier.pool, claim.id, claim.runner, &error.to_string()).await?);
                }
                Err(error) => return Err(error),
            };
            kill_point!("replay.applied");
            window = (window * 2).min(WINDOW);
            position = upto;
            read = rest;
            let wanted = store::progress(&applier.pool, claim.id, claim.runner, position, seen, tally).await?;
            kill_point!("replay.noted");
            match self.rest(applier, claim, wanted, (seen, started), stop).await? {
                Wanted::On(now) => rate = now,
                Wanted::Stopped => {
                    tracing::info!(operation = %claim.id, "replay: all operations are stopped");
                    return Ok(store::release(&applier.pool, claim.id, claim.runner).await?);
                }
                Wanted::TakenOver => {
                    taken_over(claim);
                    return Ok(());
                }
            }
        }
        store::succeed(&applier.pool, claim.id, claim.runner).await?;
        kill_point!("replay.succeeded");
        tracing::info!(operation = %claim.id, projection = claim.projection, "replay: succeeded");
        Ok(())
    }

    /// Rests after so many events for as long as the rate wants it, and looks meanwhile whether it still does.
    async fn rest(
        &self,
        applier: &Applier,
        claim: &Claim,
        mut wanted: Wanted,
        (seen, started): (u64, Instant),
        stop: &CancellationToken,
    ) -> Result<Wanted, Error> {
        while let Wanted::On(Some(rate)) = wanted {
            let owed = Duration::try_from_secs_f64(seen as f64 / rate).unwrap_or(Duration::MAX);
            let left = owed.saturating_sub(started.elapsed());
            if left.is_zero() || stop.run_until_cancelled(tokio::time::sleep(left.min(LOOK))).await.is_none() {
                break;
            }
            wanted = store::beat(&applier.pool, claim.id, claim.runner).await?;
        }
        Ok(wanted)
    }

    /// The work, with a sign of life now and then; `None` if another has taken it over.
    async fn alive<T>(
        &self,
        applier: &Applier,
        claim: &Claim,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<Option<T>, Error> {
        let lost = async {
            loop {
                tokio::time::sleep(BEAT).await;
                if store::beat(&applier.pool, claim.id, claim.runner).await? == Wanted::TakenOver {
                    return Ok(None);
                }
            }
        };
        // Both go on at any time: what the one holds, the other may wait for.
        tokio::select! {
            biased;
            done = work => done.map(Some),
            lost = lost => lost,
        }
    }
}

/// The next events of the selection, in the order of their positions.
async fn next(applier: &Applier, claim: &Claim, path: Path, after: Position, window: i64) -> Result<Chunk, Error> {
    let (mut events, upto) = match path {
        Path::Positions => windowed(applier, claim, after, window).await?,
        path => selected(applier, claim, path, after, window.min(BATCH)).await?,
    };
    events.sort_unstable_by_key(|event| event.position);
    Ok(Chunk { after, upto, events })
}

async fn apply(applier: &Applier, events: &[Event]) -> Result<Tally, Error> {
    let mut tally = Tally::default();
    for &topic in applier.projection.topics() {
        let of_topic = events.iter().filter(|event| topic.carries(&event.data.aggregate_type));
        let of_topic: Vec<_> = of_topic.cloned().collect();
        if !of_topic.is_empty() {
            tally += applier.of(topic).apply(&of_topic, Mode::Replay).await?;
        }
    }
    Ok(tally)
}

/// What is selected of the next positions.
async fn windowed(
    applier: &Applier,
    claim: &Claim,
    after: Position,
    window: i64,
) -> Result<(Vec<Event>, Position), Error> {
    let filter = claim.selection.filter(applier.projection.topics());
    let mut db = applier.pool.acquire().await?;
    let page = match read::page(&mut *db, after, claim.upto, window, &filter).await {
        Err(read::Error::Database(error)) if database::is_unreadable(&error) => {
            read::careful::page(&mut db, after, claim.upto, window, &filter).await?
        }
        page => page?,
    };
    drop(db);
    let events = Event::all(page.events, page.unreadable);
    Ok((events.filter(|event| claim.selection.includes(event.occurred_at)).collect(), page.upto))
}

/// The next events that an index leads to. What is not good for one batch is left to the next page.
async fn selected(
    applier: &Applier,
    claim: &Claim,
    path: Path,
    after: Position,
    mut limit: i64,
) -> Result<(Vec<Event>, Position), Error> {
    let projection = applier.projection;
    let range = (after, claim.upto);
    loop {
        let found =
            path.page(&applier.pool, projection.name(), projection.topics(), &claim.selection, range, limit).await?;
        let ids: Vec<_> = found.iter().map(|selected| selected.event_id).collect();
        let (mut events, rest) = applier.read(&ids).await?;
        let upto = match found.iter().find(|selected| rest.contains(&selected.event_id)) {
            Some(left) => Position(left.position.0 - 1),
            None => found.last().filter(|_| found.len() as i64 == limit).map_or(claim.upto, |last| last.position),
        };
        if upto > after {
            events.retain(|event| event.position <= upto);
            return Ok((events, upto));
        }
        // They come in no order, and the first was left. One alone is always read.
        limit = (limit / 8).max(1);
    }
}

fn taken_over(claim: &Claim) {
    tracing::warn!(operation = %claim.id, "replay: another worker took it over");
}
