//! `learning_time`: the names of learners beside the time that they have studied.
//!
//! The names are said on one topic and the times on another. Each has workers of its own, which may be late or early: the
//! name and the time of a row are changed by different events, and no event of one topic waits for one of the other.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::topics::integration::{INTEGRATION, IntegrationEvent};
use crate::topics::progress::{PROGRESS, SessionCompleted};
use fleet::uuid::Uuid;
use fleet::{DecodeError, EventSet, Payload, Recorded, Topic, payload};
use sqlx::PgConnection;

use fleet::{Error, Projection, column};

pub struct LearningTime;

/// What it listens to: what users are called, and how long sessions were. What is not in the set is not read, and so cannot
/// hold anybody up here, whatever is wrong with it.
#[derive(Debug, Clone, PartialEq)]
pub enum LearningEvent {
    User(IntegrationEvent),
    Studied(SessionCompleted),
}

impl EventSet for LearningEvent {
    const TOPICS: &'static [&'static Topic] = &[&PROGRESS, &INTEGRATION];

    fn decode(event: &Payload) -> Result<Option<Self>, DecodeError> {
        Ok(match event.event_type.as_str() {
            "SessionCompleted" => Some(Self::Studied(payload(event)?)),
            "UserSignedUp" | "UserProfileUpdated" | "UserDeleted" => IntegrationEvent::decode(event)?.map(Self::User),
            _ => None,
        })
    }
}

#[derive(Debug, Default, PartialEq)]
pub struct Changes(BTreeMap<Uuid, Learner>);

/// What changes in the row of a learner.
#[derive(Debug, Default, PartialEq)]
struct Learner {
    /// `None`: it stays as it is.
    name: Option<Name>,
    sessions_completed: i32,
    study_seconds: i64,
}

/// As of this version of the user; nothing of it once the user is deleted.
#[derive(Debug, PartialEq)]
struct Name {
    first: Option<String>,
    last: Option<String>,
    version: i32,
}

impl Projection for LearningTime {
    const NAME: &'static str = "learning_time";
    const VERSION: u32 = 1;
    const TABLES: &'static str = include_str!("schema.sql");
    type Event = LearningEvent;
    type Changes = Changes;

    fn fold(changes: &mut Changes, event: &Recorded<LearningEvent>) {
        let version = event.version.0;
        let name = |first: &str, last: &str| Name { first: Some(first.into()), last: Some(last.into()), version };
        match &event.data {
            LearningEvent::User(IntegrationEvent::UserSignedUp(user)) => {
                changes.learner(user.user_id).name = Some(name(&user.first_name, &user.last_name));
            }
            LearningEvent::User(IntegrationEvent::UserProfileUpdated(user)) => {
                changes.learner(user.user_id).name = Some(name(&user.first_name, &user.last_name));
            }
            LearningEvent::User(IntegrationEvent::UserDeleted(user)) => {
                changes.learner(user.user_id).name = Some(Name { first: None, last: None, version });
            }
            // They say nothing of a name, and are not in the set.
            LearningEvent::User(IntegrationEvent::UserEmailUpdated(_) | IntegrationEvent::LearningGoalSet(_)) => {}
            LearningEvent::Studied(session) => {
                let learner = changes.learner(session.user_id);
                learner.sessions_completed += 1;
                learner.study_seconds += i64::from(session.duration_seconds);
            }
        }
    }

    async fn write(changes: Changes, db: &mut PgConnection) -> Result<(), Error> {
        let Changes(learners) = changes;
        if learners.is_empty() {
            return Ok(());
        }
        sqlx::query_file!(
            "src/learning_time/learners.sql",
            &column(&learners, |(id, _)| *id),
            &column(&learners, |(_, learner)| learner.name.as_ref()?.first.as_deref()) as _,
            &column(&learners, |(_, learner)| learner.name.as_ref()?.last.as_deref()) as _,
            &column(&learners, |(_, learner)| Some(learner.name.as_ref()?.version)) as _,
            &column(&learners, |(_, learner)| learner.sessions_completed),
            &column(&learners, |(_, learner)| learner.study_seconds),
        )
        .execute(db)
        .await?;
        Ok(())
    }
}

impl Changes {
    fn learner(&mut self, user_id: Uuid) -> &mut Learner {
        self.0.entry(user_id).or_default()
    }
}
