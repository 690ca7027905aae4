//! `learner_journeys`: every step of a session in order, from its start to its end.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::topics::progress::{Judgment, ProgressEvent};
use fleet::Recorded;
use fleet::serde_json::Value;
use fleet::uuid::Uuid;
use sqlx::PgConnection;

use fleet::{Error, Projection, column};

pub struct LearnerJourneys;

#[derive(Debug, Default, PartialEq)]
pub struct Changes(BTreeMap<Uuid, Journey>);

/// What a session adds to its journey. Whether that is stored already only `write` can see.
#[derive(Debug, Default, PartialEq)]
struct Journey {
    /// Where the batch has its start: the user, and the first step. Counts only if no journey is stored.
    start: Option<(Uuid, String)>,
    /// Before that start. Counts only if a journey is stored.
    before: Course,
    since: Course,
}

#[derive(Debug, Default, PartialEq)]
struct Course {
    steps: Vec<String>,
    outcome: Option<&'static str>,
}

impl Projection for LearnerJourneys {
    const NAME: &'static str = "learner_journeys";
    const VERSION: u32 = 1;
    const TABLES: &'static str = include_str!("schema.sql");
    type Event = ProgressEvent;
    type Changes = Changes;

    fn fold(changes: &mut Changes, event: &Recorded<ProgressEvent>) {
        match &event.data {
            ProgressEvent::SessionStarted(started) => {
                let journey = changes.journey(started.session_id);
                // A session starts once.
                if journey.start.is_none() {
                    journey.start = Some((started.user_id, format!("started:{}", started.strategy)));
                    journey.before = std::mem::take(&mut journey.since);
                }
            }
            ProgressEvent::CorrectnessJudged(judged) => {
                let step = match judged.judgment {
                    Judgment::AutoConfirmed => "auto",
                    Judgment::UserConfirmedCorrect => "correct",
                    Judgment::UserConfirmedIncorrect => "incorrect",
                };
                changes.journey(judged.session_id).since.steps.push(step.to_owned());
            }
            ProgressEvent::SessionCompleted(completed) => {
                changes.journey(completed.session_id).end("completed", &completed.reason);
            }
            ProgressEvent::SessionAbandoned(abandoned) => {
                changes.journey(abandoned.session_id).end("abandoned", &abandoned.reason);
            }
        }
    }

    async fn write(changes: Changes, db: &mut PgConnection) -> Result<(), Error> {
        let Changes(journeys) = changes;
        if journeys.is_empty() {
            return Ok(());
        }
        // The stored ones first: those that begin here are not among them, or they would be added to twice.
        continued(&journeys, db).await?;
        started(&journeys, db).await
    }
}

impl Changes {
    fn journey(&mut self, session_id: Uuid) -> &mut Journey {
        self.0.entry(session_id).or_default()
    }
}

impl Journey {
    fn end(&mut self, outcome: &'static str, reason: &str) {
        self.since.steps.push(format!("{outcome}:{reason}"));
        self.since.outcome = Some(outcome);
    }

    /// What a stored journey gains.
    fn gained(&self) -> Value {
        json(self.before.steps.iter().chain(&self.since.steps))
    }

    fn outcome(&self) -> Option<&'static str> {
        self.since.outcome.or(self.before.outcome)
    }
}

/// Arrays of different lengths do not fit into one array of Postgres; as JSON they do.
fn json<'a>(steps: impl Iterator<Item = &'a String>) -> Value {
    steps.map(String::as_str).collect()
}

async fn continued(journeys: &BTreeMap<Uuid, Journey>, db: &mut PgConnection) -> Result<(), Error> {
    sqlx::query_file!(
        "src/learner_journeys/continued.sql",
        &column(journeys, |(id, _)| *id),
        &column(journeys, |(_, journey)| journey.gained()),
        &column(journeys, |(_, journey)| journey.outcome()) as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

async fn started(journeys: &BTreeMap<Uuid, Journey>, db: &mut PgConnection) -> Result<(), Error> {
    let started = journeys.iter().filter_map(|(id, journey)| Some((*id, journey.start.as_ref()?, &journey.since)));
    let started: Vec<_> = started.collect();
    if started.is_empty() {
        return Ok(());
    }
    sqlx::query_file!(
        "src/learner_journeys/started.sql",
        &column(&started, |(id, ..)| *id),
        &column(&started, |(_, (user_id, _), _)| *user_id),
        &column(&started, |(_, (_, first), since)| json(std::iter::once(first).chain(&since.steps))),
        &column(&started, |(.., since)| since.outcome) as _,
    )
    .execute(db)
    .await?;
    Ok(())
}
