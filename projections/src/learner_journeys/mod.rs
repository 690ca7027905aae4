//! `learner_journeys`: every step of a session in order, from its start to its end.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use events::Recorded;
use events::progress::{Judgment, ProgressEvent};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, Projection, column};

pub struct LearnerJourneys;

#[derive(Debug, Default, PartialEq)]
pub struct Changes(BTreeMap<Uuid, Journey>);

/// The steps a session adds to its journey; with a user, the journey begins here.
#[derive(Debug, Default, PartialEq)]
struct Journey {
    user_id: Option<Uuid>,
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
                // A session starts once. Steps before its start had no journey to be a part of.
                if journey.user_id.is_none() {
                    *journey = Journey { user_id: Some(started.user_id), ..Journey::default() };
                    journey.steps.push(format!("started:{}", started.strategy));
                }
            }
            ProgressEvent::CorrectnessJudged(judged) => {
                let step = match judged.judgment {
                    Judgment::AutoConfirmed => "auto",
                    Judgment::UserConfirmedCorrect => "correct",
                    Judgment::UserConfirmedIncorrect => "incorrect",
                };
                changes.journey(judged.session_id).steps.push(step.to_owned());
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
        self.steps.push(format!("{outcome}:{reason}"));
        self.outcome = Some(outcome);
    }

    /// As JSON: arrays of different lengths do not fit into one array of Postgres.
    fn steps(&self) -> Value {
        Value::from(self.steps.as_slice())
    }
}

async fn continued(journeys: &BTreeMap<Uuid, Journey>, db: &mut PgConnection) -> Result<(), Error> {
    sqlx::query_file!(
        "src/learner_journeys/continued.sql",
        &column(journeys, |(id, _)| *id),
        &column(journeys, |(_, journey)| journey.steps()),
        &column(journeys, |(_, journey)| journey.outcome) as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

async fn started(journeys: &BTreeMap<Uuid, Journey>, db: &mut PgConnection) -> Result<(), Error> {
    let started = journeys.iter().filter_map(|(id, journey)| Some((*id, journey.user_id?, journey)));
    let started: Vec<_> = started.collect();
    if started.is_empty() {
        return Ok(());
    }
    sqlx::query_file!(
        "src/learner_journeys/started.sql",
        &column(&started, |(id, ..)| *id),
        &column(&started, |(_, user_id, _)| *user_id),
        &column(&started, |(.., journey)| journey.steps()),
        &column(&started, |(.., journey)| journey.outcome) as _,
    )
    .execute(db)
    .await?;
    Ok(())
}
