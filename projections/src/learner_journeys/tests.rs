//! The fold of `learner_journeys`, without a database.

use crate::topics::progress::{CorrectnessJudged, SessionAbandoned, SessionCompleted, SessionStarted};

use super::*;
use fleet::testing::{folded, history};

const SESSION: Uuid = Uuid::from_u128(1);
const USER: Uuid = Uuid::from_u128(2);
const AT: &str = "2026-01-05T08:00:00Z";

fn started(strategy: &str) -> ProgressEvent {
    let strategy = strategy.to_owned();
    ProgressEvent::SessionStarted(SessionStarted { session_id: SESSION, user_id: USER, item_count: 3, strategy })
}

fn judged(judgment: Judgment) -> ProgressEvent {
    ProgressEvent::CorrectnessJudged(CorrectnessJudged {
        session_id: SESSION,
        item_id: Uuid::from_u128(3),
        judgment,
        response_time_ms: 900,
    })
}

fn abandoned() -> ProgressEvent {
    ProgressEvent::SessionAbandoned(SessionAbandoned { session_id: SESSION, reason: "timeout".to_owned() })
}

fn journey(events: impl IntoIterator<Item = ProgressEvent>) -> Journey {
    let events = history(SESSION, events.into_iter().map(|event| (AT, event)));
    let Changes(mut journeys) = folded::<LearnerJourneys>(&events);
    journeys.remove(&SESSION).expect("every event is of this session")
}

#[test]
fn the_steps_are_in_the_order_of_the_session() {
    let completed = ProgressEvent::SessionCompleted(SessionCompleted {
        session_id: SESSION,
        user_id: USER,
        duration_seconds: 60,
        reason: "all_items_completed".to_owned(),
    });
    let journey = journey([
        started("mixed"),
        judged(Judgment::UserConfirmedIncorrect),
        judged(Judgment::AutoConfirmed),
        judged(Judgment::UserConfirmedCorrect),
        completed,
    ]);
    assert_eq!(journey.start, Some((USER, "started:mixed".to_owned())));
    assert_eq!(journey.since.steps, ["incorrect", "auto", "correct", "completed:all_items_completed"]);
    assert_eq!(journey.outcome(), Some("completed"));
}

#[test]
fn a_journey_that_began_in_another_batch_only_gains_steps() {
    let journey = journey([judged(Judgment::AutoConfirmed), abandoned()]);
    assert_eq!(journey.start, None);
    assert_eq!(journey.gained(), fleet::serde_json::json!(["auto", "abandoned:timeout"]));
    assert_eq!(journey.outcome(), Some("abandoned"));
}

#[test]
fn a_journey_that_goes_on_has_no_outcome() {
    assert_eq!(journey([started("mixed"), judged(Judgment::AutoConfirmed)]).outcome(), None);
}

#[test]
fn what_comes_before_the_start_counts_only_for_a_journey_that_is_stored() {
    let journey = journey([abandoned(), started("mixed")]);
    assert_eq!((journey.since, journey.before.outcome), (Course::default(), Some("abandoned")));
}

#[test]
fn a_session_starts_once() {
    let journey = journey([started("mixed"), judged(Judgment::AutoConfirmed), started("due_first")]);
    assert_eq!(journey.start, Some((USER, "started:mixed".to_owned())));
    assert_eq!(journey.since.steps, ["auto"]);
}
