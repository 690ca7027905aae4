//! The fold of `learner_progress`, without a database.

use crate::topics::progress::{SessionAbandoned, SessionCompleted};

use super::*;
use fleet::testing::{folded, history, recorded};

const SESSION: Uuid = Uuid::from_u128(1);
const USER: Uuid = Uuid::from_u128(2);
const ITEM: Uuid = Uuid::from_u128(3);
const AT: &str = "2026-01-05T23:59:00Z";
const AFTER_MIDNIGHT: &str = "2026-01-06T00:01:00Z";

fn started() -> ProgressEvent {
    let strategy = "mixed".to_owned();
    ProgressEvent::SessionStarted(SessionStarted { session_id: SESSION, user_id: USER, item_count: 3, strategy })
}

fn judged(judgment: Judgment) -> ProgressEvent {
    ProgressEvent::CorrectnessJudged(CorrectnessJudged {
        session_id: SESSION,
        item_id: ITEM,
        judgment,
        response_time_ms: 900,
    })
}

fn completed() -> ProgressEvent {
    let reason = "all_items_completed".to_owned();
    let session = SessionCompleted { session_id: SESSION, user_id: USER, duration_seconds: 60, reason };
    ProgressEvent::SessionCompleted(session)
}

fn session(events: impl IntoIterator<Item = (&'static str, ProgressEvent)>) -> Gains {
    only(folded::<LearnerProgress>(&history(SESSION, events))).gained(false)
}

fn only(Changes(mut sessions): Changes) -> Session {
    assert_eq!(sessions.len(), 1);
    sessions.remove(&SESSION).expect("the only session there is")
}

fn date(date: &str) -> NaiveDate {
    date.parse().expect("a date")
}

#[test]
fn a_start_makes_no_day_but_is_counted_and_is_study() {
    let session = session([(AT, started())]);
    assert!(session.days.is_empty());
    assert_eq!(session.total, Tally { started: 1, ..Tally::default() });
    assert_eq!(session.last_studied_at, AT.parse().ok());
}

#[test]
fn a_session_over_midnight_has_two_days() {
    let session = session([(AT, started()), (AT, judged(Judgment::AutoConfirmed)), (AFTER_MIDNIGHT, completed())]);
    let (first, second) = (session.days[&date("2026-01-05")], session.days[&date("2026-01-06")]);
    assert_eq!(first, Tally { answers: 1, correct: 1, ..Tally::default() });
    assert_eq!(second, Tally { completed: 1, study_seconds: 60, ..Tally::default() });
}

#[test]
fn confirmed_by_anybody_is_correct_and_incorrect_is_only_an_attempt() {
    let session = session([
        (AT, judged(Judgment::AutoConfirmed)),
        (AT, judged(Judgment::UserConfirmedCorrect)),
        (AT, judged(Judgment::UserConfirmedIncorrect)),
    ]);
    let item = &session.attempts[&ITEM];
    assert_eq!((item.count, item.correct, item.total_response_ms), (3, 2, 2700));
    assert_eq!((session.total.answers, session.total.correct), (3, 2));
}

#[test]
fn of_two_judgments_in_one_microsecond_the_greater_event_is_the_last() {
    let mut first = recorded(SESSION, 1, "2026-01-05T08:00:00.000000100Z", judged(Judgment::AutoConfirmed));
    let mut second = recorded(SESSION, 2, "2026-01-05T08:00:00.000000900Z", judged(Judgment::UserConfirmedCorrect));
    first.event_id = EventId(Uuid::from_u128(9));
    second.event_id = EventId(Uuid::from_u128(8));
    let session = only(folded::<LearnerProgress>([&first, &second])).since;
    assert_eq!(session.attempts[&ITEM].last_judgment, Judgment::AutoConfirmed);
}

#[test]
fn the_last_judgment_is_the_latest_and_not_the_one_that_came_last() {
    let session =
        session([(AFTER_MIDNIGHT, judged(Judgment::UserConfirmedIncorrect)), (AT, judged(Judgment::AutoConfirmed))]);
    assert_eq!(session.attempts[&ITEM].last_judgment, Judgment::UserConfirmedIncorrect);
    assert_eq!(session.last_studied_at, AFTER_MIDNIGHT.parse().ok());
}

#[test]
fn an_abandoned_session_has_an_end_and_no_duration() {
    let reason = "timeout".to_owned();
    let abandoned = ProgressEvent::SessionAbandoned(SessionAbandoned { session_id: SESSION, reason });
    let session = session([(AT, started()), (AT, abandoned)]);
    let at = AT.parse().expect("a time");
    assert_eq!(session.ended, Some(Ended { status: "abandoned", at, duration_seconds: None }));
    assert_eq!(session.total.study_seconds, 0);
}

#[test]
fn what_comes_before_the_start_counts_only_for_a_session_that_is_stored() {
    let events = || history(SESSION, [(AT, judged(Judgment::AutoConfirmed)), (AT, completed()), (AT, started())]);
    let gained = |stored| only(folded::<LearnerProgress>(&events())).gained(stored);
    let fresh = gained(false);
    assert!(fresh.attempts.is_empty() && fresh.days.is_empty());
    assert_eq!(fresh.ended, None);
    assert_eq!(fresh.total, Tally { started: 1, ..Tally::default() });
    let stored = gained(true);
    assert_eq!((stored.attempts.len(), stored.total.answers, stored.total.started), (1, 1, 1));
    assert_eq!(stored.ended.map(|ended| ended.status), Some("completed"));
}
