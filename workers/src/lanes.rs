//! Live delivery to the projections of a topic, each in a lane of its own.
//!
//! What comes is applied by all of them side by side. One that fails or is slow while a sibling is done is left behind: it
//! goes on with what it has, the others go on without it, and what it misses meanwhile it takes from the store when it is
//! done. What is more than it can remember its sweep takes, as it takes whatever the bus loses. If none of them gets on,
//! nothing is left behind: then it is Postgres that is away. One that is paused is done at once: what came stays in the
//! store.

use std::sync::Arc;
use std::time::Duration;

use events::EventId;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::apply::{self, Applier, Mode, Tally};
use crate::retry;
use crate::verdict::Event;

/// How long the others wait for a projection when the first of them is done.
const LEFT_BEHIND_AFTER: Duration = Duration::from_secs(5);

/// Events that a projection remembers to have missed.
const REMEMBERED: usize = 10_000;

pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    running: FuturesUnordered<BoxFuture<'static, Run>>,
    stop: CancellationToken,
}

struct Lane {
    applier: Applier,
    state: State,
    /// What came for it while it was behind.
    missed: Vec<EventId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    Busy,
    /// Busy, and nobody waits for it.
    Behind,
}

/// A lane's work that ended.
struct Run {
    lane: usize,
    /// `false`: it was stopped before.
    done: bool,
}

impl Lanes {
    pub fn of(appliers: &[Applier], stop: CancellationToken) -> Self {
        let free = |applier: &Applier| Lane { applier: applier.clone(), state: State::Free, missed: Vec::new() };
        Self { lanes: appliers.iter().map(free).collect(), running: FuturesUnordered::new(), stop }
    }

    /// Has every free lane apply these events. When it returns `true`, each of them has committed, or was left behind by
    /// one that has; `false`: it was stopped.
    pub async fn apply(&mut self, events: Arc<[Event]>) -> bool {
        let ids: Arc<[EventId]> = events.iter().map(|event| event.event_id).collect();
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            if lane.state == State::Behind {
                let room = REMEMBERED - lane.missed.len();
                lane.missed.extend(ids.iter().take(room));
            } else {
                lane.state = State::Busy;
                let work = Work { first: Some(events.clone()), ids: ids.clone() };
                self.running.push(run(index, lane.applier.clone(), work, self.stop.clone()).boxed());
            }
        }
        let mut impatient = None;
        while self.lanes.iter().any(|lane| lane.state == State::Busy) {
            tokio::select! {
                ended = self.running.next() => {
                    let Some(ended) = ended else { break };
                    let awaited = self.lanes[ended.lane].state == State::Busy;
                    if !self.ended(&ended) {
                        return false;
                    }
                    if awaited {
                        impatient.get_or_insert_with(|| Instant::now() + LEFT_BEHIND_AFTER);
                    }
                }
                () = sleep_until(impatient) => self.leave_behind(),
            }
        }
        true
    }

    /// Does `work` while the lanes that are behind go on.
    pub async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                Some(ended) = self.running.next() => {
                    self.ended(&ended);
                }
            }
        }
    }

    /// `false`: it was stopped before it was done.
    fn ended(&mut self, run: &Run) -> bool {
        let lane = &mut self.lanes[run.lane];
        let missed = std::mem::take(&mut lane.missed);
        if run.done && !missed.is_empty() {
            let work = Work { first: None, ids: missed.into() };
            self.running.push(self::run(run.lane, lane.applier.clone(), work, self.stop.clone()).boxed());
            return true;
        }
        if run.done && lane.state == State::Behind {
            tracing::info!(projection = lane.applier.projection.name(), "has caught up; it gets live deliveries again");
        }
        lane.state = State::Free;
        run.done
    }

    fn leave_behind(&mut self) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.state == State::Busy) {
            lane.state = State::Behind;
            tracing::warn!(
                projection = lane.applier.projection.name(),
                "does not keep up with its siblings; what it misses it takes from the store when it is done"
            );
        }
    }
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// What a lane has to do.
struct Work {
    /// The events, as they came; `None`: they are still to be read.
    first: Option<Arc<[Event]>>,
    ids: Arc<[EventId]>,
}

/// Applies until it succeeds or is stopped. After a failure the events are read again: the store that answers then may be
/// another, which has lost the last of them.
async fn run(lane: usize, applier: Applier, work: Work, stop: CancellationToken) -> Run {
    let Work { mut first, ids } = work;
    let doing = format!("applying to {}", applier.projection.name());
    let done = retry::until_all_done(&doing, &stop, || {
        let (applier, first, ids) = (applier.clone(), first.take(), ids.clone());
        async move {
            let applied = match first {
                Some(events) => applier.apply_or_leave(&events, Mode::Live).await,
                None => again(&applier, &ids).await,
            };
            match applied {
                // It is not this code's to write to, until a generation of this code is live. The events stay in the store, and
                // the others must not wait.
                Err(apply::Error::NotWritable(_)) => Ok(Tally::default()),
                applied => applied,
            }
        }
    });
    Run { lane, done: done.await.is_some() }
}

async fn again(applier: &Applier, ids: &[EventId]) -> Result<Tally, apply::Error> {
    let mut tally = Tally::default();
    let mut rest = ids.to_vec();
    while !rest.is_empty() {
        let (events, more) = applier.read(&rest).await?;
        tally += applier.apply_or_leave(&events, Mode::Live).await?;
        rest = more;
    }
    Ok(tally)
}
