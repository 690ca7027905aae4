//! Who there is.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::canonical::{or_null, text, time};
use super::{Event, Tables};

#[derive(Default)]
pub struct UserDirectory {
    users: BTreeMap<String, User>,
}

struct User {
    email: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    daily_goal: Option<i64>,
    status: &'static str,
    signed_up_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    version: i64,
}

impl UserDirectory {
    pub fn apply(&mut self, event: &Event) {
        match event.event_type.as_str() {
            "UserSignedUp" => {
                self.users.insert(event.string("user_id"), User::signed_up(event));
            }
            "UserProfileUpdated" => {
                let user = self.user(event);
                user.first_name = Some(event.string("first_name"));
                user.last_name = Some(event.string("last_name"));
            }
            "UserEmailUpdated" => self.user(event).email = Some(event.string("email")),
            "LearningGoalSet" => self.user(event).daily_goal = Some(event.integer("daily_goal")),
            "UserDeleted" => {
                let user = self.user(event);
                user.status = "deleted";
                (user.email, user.first_name, user.last_name) = (None, None, None);
            }
            _ => {}
        }
    }

    /// The user of an event that is not its first; every event leaves its time and version.
    fn user(&mut self, event: &Event) -> &mut User {
        let user = self.users.get_mut(&event.string("user_id"));
        let user = user.unwrap_or_else(|| panic!("a user begins with UserSignedUp, not with {event:?}"));
        user.updated_at = event.occurred_at;
        user.version = event.event_version;
        user
    }

    pub fn rows(&self, tables: &mut Tables) {
        for (id, user) in &self.users {
            tables.insert(
                "users",
                [
                    text(id),
                    or_null(user.email.as_deref().map(text)),
                    or_null(user.first_name.as_deref().map(text)),
                    or_null(user.last_name.as_deref().map(text)),
                    or_null(user.daily_goal),
                    text(user.status),
                    time(&user.signed_up_at),
                    time(&user.updated_at),
                    user.version.to_string(),
                ],
            );
        }
    }
}

impl User {
    fn signed_up(event: &Event) -> Self {
        Self {
            email: Some(event.string("email")),
            first_name: Some(event.string("first_name")),
            last_name: Some(event.string("last_name")),
            daily_goal: None,
            status: "active",
            signed_up_at: event.occurred_at,
            updated_at: event.occurred_at,
            version: event.event_version,
        }
    }
}
