//! `user_directory`: who the users are. A deleted user keeps the row, and nothing personal in it.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::topics::integration::IntegrationEvent;
use fleet::Recorded;
use fleet::chrono::{DateTime, Utc};
use fleet::uuid::Uuid;
use sqlx::PgConnection;

use fleet::{Error, Projection, column};

pub struct UserDirectory;

#[derive(Debug, Default, PartialEq)]
pub struct Changes(BTreeMap<Uuid, User>);

/// What changes in the row of a user: all of it after a sign-up, else what is not `None`.
#[derive(Debug, Default, PartialEq)]
struct User {
    signed_up_at: Option<DateTime<Utc>>,
    email: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    daily_goal: Option<i32>,
    /// What is stored of the person goes; what the events said after the deletion is in the fields above.
    deleted: bool,
    updated_at: DateTime<Utc>,
    version: i32,
}

impl Projection for UserDirectory {
    const NAME: &'static str = "user_directory";
    const VERSION: u32 = 1;
    const TABLES: &'static str = include_str!("schema.sql");
    type Event = IntegrationEvent;
    type Changes = Changes;

    fn fold(changes: &mut Changes, event: &Recorded<IntegrationEvent>) {
        match &event.data {
            IntegrationEvent::UserSignedUp(signed_up) => {
                // Whatever the batch held of the user before is of a row that begins anew.
                changes.0.remove(&signed_up.user_id);
                let user = changes.user(signed_up.user_id, event);
                user.signed_up_at = Some(event.occurred_at);
                user.email = Some(signed_up.email.clone());
                user.first_name = Some(signed_up.first_name.clone());
                user.last_name = Some(signed_up.last_name.clone());
            }
            IntegrationEvent::UserProfileUpdated(profile) => {
                let user = changes.user(profile.user_id, event);
                user.first_name = Some(profile.first_name.clone());
                user.last_name = Some(profile.last_name.clone());
            }
            IntegrationEvent::UserEmailUpdated(update) => {
                changes.user(update.user_id, event).email = Some(update.email.clone());
            }
            IntegrationEvent::LearningGoalSet(goal) => {
                changes.user(goal.user_id, event).daily_goal = Some(goal.daily_goal);
            }
            IntegrationEvent::UserDeleted(deleted) => {
                let user = changes.user(deleted.user_id, event);
                user.email = None;
                user.first_name = None;
                user.last_name = None;
                user.deleted = true;
            }
        }
    }

    async fn write(changes: Changes, db: &mut PgConnection) -> Result<(), Error> {
        let (signed_up, updated): (BTreeMap<_, _>, BTreeMap<_, _>) =
            changes.0.into_iter().partition(|(_, user)| user.signed_up_at.is_some());
        if !signed_up.is_empty() {
            insert(&signed_up, db).await?;
        }
        if !updated.is_empty() {
            update(&updated, db).await?;
        }
        Ok(())
    }
}

impl Changes {
    /// The changes of a user, of which `event` is now the last.
    fn user(&mut self, user_id: Uuid, event: &Recorded<IntegrationEvent>) -> &mut User {
        let user = self.0.entry(user_id).or_default();
        user.updated_at = event.occurred_at;
        user.version = event.version.0;
        user
    }
}

async fn insert(users: &BTreeMap<Uuid, User>, db: &mut PgConnection) -> Result<(), Error> {
    sqlx::query_file!(
        "src/user_directory/signed_up.sql",
        &column(users, |(id, _)| *id),
        &column(users, |(_, user)| user.email.as_deref()) as _,
        &column(users, |(_, user)| user.first_name.as_deref()) as _,
        &column(users, |(_, user)| user.last_name.as_deref()) as _,
        &column(users, |(_, user)| user.daily_goal) as _,
        &column(users, |(_, user)| if user.deleted { "deleted" } else { "active" }) as _,
        &column(users, |(_, user)| user.signed_up_at) as _,
        &column(users, |(_, user)| user.updated_at),
        &column(users, |(_, user)| user.version),
    )
    .execute(db)
    .await?;
    Ok(())
}

async fn update(users: &BTreeMap<Uuid, User>, db: &mut PgConnection) -> Result<(), Error> {
    sqlx::query_file!(
        "src/user_directory/updated.sql",
        &column(users, |(id, _)| *id),
        &column(users, |(_, user)| user.email.as_deref()) as _,
        &column(users, |(_, user)| user.first_name.as_deref()) as _,
        &column(users, |(_, user)| user.last_name.as_deref()) as _,
        &column(users, |(_, user)| user.daily_goal) as _,
        &column(users, |(_, user)| user.deleted),
        &column(users, |(_, user)| user.updated_at),
        &column(users, |(_, user)| user.version),
    )
    .execute(db)
    .await?;
    Ok(())
}
