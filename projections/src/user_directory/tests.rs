//! The fold of `user_directory`, without a database.

use crate::topics::integration::{LearningGoalSet, UserDeleted, UserEmailUpdated, UserProfileUpdated, UserSignedUp};

use super::*;
use fleet::testing::{folded, history};

const USER: Uuid = Uuid::from_u128(1);
const AT: &str = "2026-01-05T08:00:00Z";
const LATER: &str = "2026-01-06T08:00:00Z";

fn signed_up(email: &str) -> IntegrationEvent {
    IntegrationEvent::UserSignedUp(UserSignedUp {
        user_id: USER,
        email: email.to_owned(),
        first_name: "Ada".to_owned(),
        last_name: "Nguyen".to_owned(),
    })
}

fn email(email: &str) -> IntegrationEvent {
    IntegrationEvent::UserEmailUpdated(UserEmailUpdated { user_id: USER, email: email.to_owned() })
}

fn deleted() -> IntegrationEvent {
    IntegrationEvent::UserDeleted(UserDeleted { user_id: USER })
}

fn user(events: impl IntoIterator<Item = (&'static str, IntegrationEvent)>) -> User {
    let Changes(mut users) = folded::<UserDirectory>(&history(USER, events));
    assert_eq!(users.len(), 1);
    users.remove(&USER).expect("the only user there is")
}

#[test]
fn the_last_word_on_each_value_counts() {
    let profile = IntegrationEvent::UserProfileUpdated(UserProfileUpdated {
        user_id: USER,
        first_name: "Ada".to_owned(),
        last_name: "Byron".to_owned(),
    });
    let goal = IntegrationEvent::LearningGoalSet(LearningGoalSet { user_id: USER, daily_goal: 15 });
    let user = user([(AT, signed_up("a@example.org")), (AT, goal), (AT, email("b@example.org")), (LATER, profile)]);
    assert_eq!(user.email.as_deref(), Some("b@example.org"));
    assert_eq!(user.last_name.as_deref(), Some("Byron"));
    assert_eq!(user.daily_goal, Some(15));
    assert_eq!(user.signed_up_at, AT.parse().ok());
    assert_eq!((user.updated_at, user.version), (LATER.parse().expect("a time"), 4));
}

#[test]
fn an_update_leaves_alone_what_it_does_not_name() {
    let user = user([(AT, email("b@example.org"))]);
    assert_eq!((user.first_name, user.last_name, user.daily_goal), (None, None, None));
    assert_eq!((user.signed_up_at, user.deleted), (None, false));
}

#[test]
fn a_deleted_user_keeps_the_goal_and_nothing_personal() {
    let goal = IntegrationEvent::LearningGoalSet(LearningGoalSet { user_id: USER, daily_goal: 15 });
    let user = user([(AT, signed_up("a@example.org")), (AT, goal), (LATER, deleted())]);
    assert!(user.deleted);
    assert_eq!((user.email, user.first_name, user.last_name), (None, None, None));
    assert_eq!(user.daily_goal, Some(15));
}

#[test]
fn who_signs_up_again_after_a_deletion_begins_anew() {
    let user = user([(AT, signed_up("a@example.org")), (AT, deleted()), (LATER, signed_up("b@example.org"))]);
    assert!(!user.deleted);
    assert_eq!(user.email.as_deref(), Some("b@example.org"));
    assert_eq!(user.signed_up_at, LATER.parse().ok());
}
