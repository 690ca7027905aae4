//! A rebuild as tasks that end: each builds its share of the parts until they have what was in the store when the rebuild began.
//! Whoever else keeps generations may do so at the same time: a part is built by whoever has its row.

use std::collections::BTreeSet;
use std::time::Duration;

use event_store::tail::Head;
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::build::Builder;
use super::throttle::{Gauge, Throttle};
use super::{Part, rebuild};
use crate::apply::{self, Applier};
use crate::operations::State;
use crate::retry;

/// How often it is looked how far the parts are.
const POLL: Duration = Duration::from_secs(1);

/// One of some tasks that build the rebuild of a projection that was asked for last, if it is of this version of the code.
#[derive(Debug, Clone)]
pub struct Task {
    pub applier: Applier,
    pub head: Head,
    /// For measuring how late the live generation is.
    pub reading: PgPool,
    /// Which of the tasks this is, from 0: its parts are this one and every `count`th after it.
    pub index: i32,
    pub count: i32,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its parts are built, perhaps by others; or it has none.
    Built(Uuid),
    /// The rebuild has failed, or was cancelled; why, if that is known.
    Over(Uuid, State, Option<String>),
    /// Nobody has asked for a rebuild by this version of the code.
    Nothing,
    /// It was told to stop.
    Stopped,
}

/// The rebuild, and where its parts are.
struct Seen {
    operation: Uuid,
    state: State,
    error: Option<String>,
    generation: Option<i32>,
    built: bool,
    /// Each part, and whether it has everything.
    parts: Vec<(i32, bool)>,
}

impl Task {
    /// Builds until its parts are built.
    pub async fn run(self, stop: CancellationToken) -> Outcome {
        let gauge = Gauge::new(self.reading.clone(), vec![self.applier.projection]);
        let _watched = gauge.watch();
        let throttle = gauge.throttle(true);
        let mut building = JoinSet::new();
        let builders = stop.child_token();
        let outcome = self.work(&throttle, &mut building, &builders, &stop).await;
        builders.cancel();
        while let Some(ended) = building.join_next().await {
            if let Err(error) = ended {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        outcome
    }

    async fn work(
        &self,
        throttle: &Throttle,
        building: &mut JoinSet<()>,
        builders: &CancellationToken,
        stop: &CancellationToken,
    ) -> Outcome {
        let mut begun = BTreeSet::new();
        loop {
            let looking = || self.look();
            let Some(seen) = retry::until_done("looking at the rebuild", stop, looking).await else {
                return Outcome::Stopped;
            };
            let Some(seen) = seen else { return Outcome::Nothing };
            if matches!(seen.state, State::Failed | State::Cancelled) {
                return Outcome::Over(seen.operation, seen.state, seen.error);
            }
            let ours = |part: i32| part % self.count == self.index;
            let have_all = |of: &dyn Fn(i32) -> bool| seen.parts.iter().all(|(part, all)| *all || !of(*part));
            // Whoever is the last makes the indexes, and has to wait for that.
            let last = have_all(&|_| true);
            if seen.built || seen.generation.is_some() && have_all(&ours) && !last {
                return Outcome::Built(seen.operation);
            }
            let parts = seen.parts.len() as i32;
            for part in seen.parts.iter().map(|(part, _)| *part).filter(|part| ours(*part)) {
                if let Some(generation) = seen.generation.filter(|_| begun.insert(part)) {
                    let part = Part { generation, part, parts };
                    let applier = self.applier.clone();
                    let builder =
                        Builder::new(applier, part, self.head.clone(), self.reading.clone(), throttle.clone());
                    let stop = builders.clone();
                    building.spawn(kill_points::carried(async move { builder.run(&stop).await }));
                }
            }
            if stop.run_until_cancelled(tokio::time::sleep(POLL)).await.is_none() {
                return Outcome::Stopped;
            }
        }
    }

    /// Begins the rebuild, if nobody has, and looks where its parts are.
    async fn look(&self) -> Result<Option<Seen>, apply::Error> {
        rebuild::begin(&self.applier, &["rebuild"]).await?;
        let projection = self.applier.projection;
        let row = sqlx::query_file!("src/generations/tasks.sql", projection.name(), projection.version() as i32);
        let row = row.fetch_optional(&self.applier.pool).await?;
        Ok(row.map(|row| Seen {
            operation: row.id,
            state: row.state,
            error: row.error,
            generation: row.generation,
            built: row.built,
            parts: row.numbers.into_iter().zip(row.have_all).collect(),
        }))
    }
}
