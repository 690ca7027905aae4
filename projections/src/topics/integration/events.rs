//! The events of `integration-events`, in their newest shape.

use fleet::uuid::Uuid;
use serde::Deserialize;

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
