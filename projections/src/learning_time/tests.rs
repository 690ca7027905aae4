//! The fold of `learning_time`, without a database.

use crate::topics::integration::{UserDeleted, UserProfileUpdated, UserSignedUp};

use super::*;
use fleet::Metadata;
use fleet::serde_json::value::RawValue;
use fleet::testing::{folded, history};

const USER: Uuid = Uuid::from_u128(1);
const SESSION: Uuid = Uuid::from_u128(2);
const AT: &str = "2026-01-05T08:00:00Z";

fn signed_up() -> LearningEvent {
    LearningEvent::User(IntegrationEvent::UserSignedUp(UserSignedUp {
        user_id: USER,
        email: "ada@example.org".to_owned(),
        first_name: "Ada".to_owned(),
        last_name: "Nguyen".to_owned(),
    }))
}

fn married() -> LearningEvent {
    LearningEvent::User(IntegrationEvent::UserProfileUpdated(UserProfileUpdated {
        user_id: USER,
        first_name: "Ada".to_owned(),
        last_name: "Byron".to_owned(),
    }))
}

fn deleted() -> LearningEvent {
    LearningEvent::User(IntegrationEvent::UserDeleted(UserDeleted { user_id: USER }))
}

fn studied(duration_seconds: i32) -> LearningEvent {
    let reason = "all_items_completed".to_owned();
    LearningEvent::Studied(SessionCompleted { session_id: SESSION, user_id: USER, duration_seconds, reason })
}

fn events(of: Uuid, events: &[LearningEvent]) -> Vec<Recorded<LearningEvent>> {
    history(of, events.iter().map(|event| (AT, event.clone())))
}

#[test]
fn names_and_times_meet_in_one_row_whichever_topic_is_first() {
    let (user, session) = (events(USER, &[signed_up(), married()]), events(SESSION, &[studied(60), studied(90)]));
    let Changes(learners) = folded::<LearningTime>(user.iter().chain(&session));
    let learner = &learners[&USER];
    let name = Name { first: Some("Ada".to_owned()), last: Some("Byron".to_owned()), version: 2 };
    assert_eq!(learner.name.as_ref(), Some(&name));
    assert_eq!((learner.sessions_completed, learner.study_seconds), (2, 150));
    assert_eq!(folded::<LearningTime>(session.iter().chain(&user)), Changes(learners));
}

#[test]
fn a_time_says_nothing_of_the_name() {
    let Changes(learners) = folded::<LearningTime>(&events(SESSION, &[studied(60)]));
    assert_eq!(learners[&USER].name, None);
}

#[test]
fn a_deleted_user_keeps_the_time_and_nothing_personal() {
    let history = events(USER, &[signed_up(), studied(60), deleted()]);
    let Changes(learners) = folded::<LearningTime>(&history);
    assert_eq!(learners[&USER].name, Some(Name { first: None, last: None, version: 3 }));
    assert_eq!(learners[&USER].study_seconds, 60);
}

#[test]
fn what_says_nothing_of_names_or_times_is_not_even_read() {
    for event_type in ["LearningGoalSet", "UserEmailUpdated", "SessionStarted", "CorrectnessJudged"] {
        let event = Payload {
            aggregate_type: "User".to_owned(),
            event_type: event_type.to_owned(),
            event_data: RawValue::NULL.to_owned(),
            metadata: Metadata::default(),
        };
        assert_eq!(LearningEvent::decode(&event).expect("nothing is read of it"), None, "{event_type}");
    }
}
