//! `integration-events`: users, as another system tells of them.

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::decode::{DecodeError, EventSet, payload, payload_of, upcasted};
use crate::{Payload, Topic, Upcast, topic, upcast};

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
    const TOPIC: &'static Topic = &topic::INTEGRATION;

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

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct UserSignedUp {
    pub user_id: Uuid,
    pub email: String,
    pub first_name: String,
    pub last_name: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct UserProfileUpdated {
    pub user_id: Uuid,
    pub first_name: String,
    pub last_name: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct UserEmailUpdated {
    pub user_id: Uuid,
    pub email: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LearningGoalSet {
    pub user_id: Uuid,
    pub daily_goal: i32,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct UserDeleted {
    pub user_id: Uuid,
}
