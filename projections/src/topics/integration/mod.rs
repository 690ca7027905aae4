//! `integration-events`: users, as another system tells of them.

mod events;
#[cfg(test)]
mod tests;

use fleet::serde_json::Value;
use fleet::{DecodeError, EventSet, Payload, Topic, Upcast, payload, payload_of, upcast, upcasted};

pub use self::events::*;

/// Users, as another system tells of them; what it publishes itself is adopted.
pub static INTEGRATION: Topic = Topic {
    name: "integration-events",
    aggregate_types: &["User"],
    subscription: "integration-projection",
    retention_days: 7,
    adopts_foreign_events: true,
};

#[derive(Debug, Clone, PartialEq)]
pub enum IntegrationEvent {
    UserSignedUp(UserSignedUp),
    UserProfileUpdated(UserProfileUpdated),
    UserEmailUpdated(UserEmailUpdated),
    LearningGoalSet(LearningGoalSet),
    UserDeleted(UserDeleted),
}

/// Schema 1 had one `name`; it becomes the first name.
static USER_SIGNED_UP: Upcast = Upcast(&[|mut data| {
    upcast::rename(&mut data, "name", "first_name");
    data.insert("last_name".to_owned(), Value::from("").into());
    data
}]);

impl EventSet for IntegrationEvent {
    const TOPICS: &'static [&'static Topic] = &[&INTEGRATION];

    fn decode(event: &Payload) -> Result<Option<Self>, DecodeError> {
        Ok(Some(match event.event_type.as_str() {
            "UserSignedUp" if event.metadata.schema_version() < USER_SIGNED_UP.newest() => {
                Self::UserSignedUp(upcasted(event, &USER_SIGNED_UP)?)
            }
            "UserSignedUp" => Self::UserSignedUp(payload_of(event, USER_SIGNED_UP.newest())?),
            "UserProfileUpdated" => Self::UserProfileUpdated(payload(event)?),
            "UserEmailUpdated" => Self::UserEmailUpdated(payload(event)?),
            "LearningGoalSet" => Self::LearningGoalSet(payload(event)?),
            "UserDeleted" => Self::UserDeleted(payload(event)?),
            _ => return Ok(None),
        }))
    }
}
