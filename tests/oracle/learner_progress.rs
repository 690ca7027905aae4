//! Sessions, and what learners, days and items sum up to.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};

use super::canonical::{or_null, text, time};
use super::{Event, Tables};

#[derive(Default)]
pub struct LearnerProgress {
    sessions: BTreeMap<String, Session>,
    /// By user and item.
    mastery: BTreeMap<(String, String), Mastery>,
    /// By user and date.
    days: BTreeMap<(String, NaiveDate), Sums>,
    /// By user.
    users: BTreeMap<String, User>,
}

struct Session {
    user_id: String,
    strategy: String,
    item_count: i64,
    judged: i64,
    correct: i64,
    status: &'static str,
    started_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    duration_seconds: Option<i64>,
}

struct Mastery {
    attempts: i64,
    correct: i64,
    total_response_ms: i64,
    /// Time, event id, judgment: the greatest is the last.
    last: (DateTime<Utc>, String, String),
}

#[derive(Default)]
struct Sums {
    completed: i64,
    abandoned: i64,
    answers: i64,
    correct: i64,
    study_seconds: i64,
}

struct User {
    started: i64,
    sums: Sums,
    last_studied_at: DateTime<Utc>,
}

impl LearnerProgress {
    pub fn apply(&mut self, event: &Event) {
        match event.event_type.as_str() {
            "SessionStarted" => {
                // The row is that of the first start, whose user the session has: what was judged stays judged. Each start
                // counts for that user, as each end does.
                let id = event.string("session_id");
                let session = self.sessions.entry(id).or_insert_with(|| Session::started(event));
                let user_id = session.user_id.clone();
                self.user(&user_id, event).started += 1;
            }
            "CorrectnessJudged" => self.judged(event),
            "SessionCompleted" => {
                let seconds = event.integer("duration_seconds");
                let session = self.session(event);
                session.status = "completed";
                session.ended_at = Some(event.occurred_at);
                session.duration_seconds = Some(seconds);
                self.add(event, |sums| {
                    sums.completed += 1;
                    sums.study_seconds += seconds;
                });
            }
            "SessionAbandoned" => {
                let session = self.session(event);
                session.status = "abandoned";
                session.ended_at = Some(event.occurred_at);
                self.add(event, |sums| sums.abandoned += 1);
            }
            _ => {}
        }
    }

    fn judged(&mut self, event: &Event) {
        let judgment = event.string("judgment");
        let correct = match judgment.as_str() {
            "auto_confirmed" | "user_confirmed_correct" => 1,
            "user_confirmed_incorrect" => 0,
            other => panic!("a judgment {other}"),
        };
        let session = self.session(event);
        session.judged += 1;
        session.correct += correct;
        let user_id = session.user_id.clone();

        let last = (event.occurred_at, event.event_id.clone(), judgment);
        let mastery = self.mastery.entry((user_id, event.string("item_id"))).or_insert_with(|| Mastery {
            attempts: 0,
            correct: 0,
            total_response_ms: 0,
            last: last.clone(),
        });
        mastery.attempts += 1;
        mastery.correct += correct;
        mastery.total_response_ms += event.integer("response_time_ms");
        mastery.last = mastery.last.clone().max(last);

        self.add(event, |sums| {
            sums.answers += 1;
            sums.correct += correct;
        });
    }

    /// The session of an event that is not its first.
    fn session(&mut self, event: &Event) -> &mut Session {
        let session = self.sessions.get_mut(&event.string("session_id"));
        session.unwrap_or_else(|| panic!("a session begins with SessionStarted, not with {event:?}"))
    }

    /// Adds to the sums of the day and of the session's user.
    fn add(&mut self, event: &Event, add: impl Fn(&mut Sums)) {
        let user_id = self.session(event).user_id.clone();
        add(&mut self.user(&user_id, event).sums);
        add(self.days.entry((user_id, event.occurred_at.date_naive())).or_default());
    }

    /// Each event of a session is one at which its user has studied.
    fn user(&mut self, user_id: &str, event: &Event) -> &mut User {
        let first = || User { started: 0, sums: Sums::default(), last_studied_at: event.occurred_at };
        let user = self.users.entry(user_id.to_owned()).or_insert_with(first);
        user.last_studied_at = user.last_studied_at.max(event.occurred_at);
        user
    }

    pub fn rows(&self, tables: &mut Tables) {
        for (id, session) in &self.sessions {
            tables.insert(
                "learning_sessions",
                [
                    text(id),
                    text(&session.user_id),
                    text(&session.strategy),
                    session.item_count.to_string(),
                    session.judged.to_string(),
                    session.correct.to_string(),
                    text(session.status),
                    time(&session.started_at),
                    or_null(session.ended_at.as_ref().map(time)),
                    or_null(session.duration_seconds),
                ],
            );
        }
        for ((user_id, item_id), mastery) in &self.mastery {
            let (last_judged_at, _, last_judgment) = &mastery.last;
            tables.insert(
                "item_mastery",
                [
                    text(user_id),
                    text(item_id),
                    mastery.attempts.to_string(),
                    mastery.correct.to_string(),
                    mastery.total_response_ms.to_string(),
                    text(last_judgment),
                    time(last_judged_at),
                ],
            );
        }
        for ((user_id, date), sums) in &self.days {
            let [completed, abandoned, answers, correct, seconds] = sums.columns();
            let date = text(&date.to_string());
            let values = [text(user_id), date, completed, abandoned, answers, correct, seconds];
            tables.insert("daily_progress", values);
        }
        for (user_id, user) in &self.users {
            let [completed, abandoned, answers, correct, seconds] = user.sums.columns();
            let (started, last) = (user.started.to_string(), time(&user.last_studied_at));
            let values = [text(user_id), started, completed, abandoned, answers, correct, seconds, last];
            tables.insert("user_progress", values);
        }
    }
}

impl Session {
    fn started(event: &Event) -> Self {
        Self {
            user_id: event.string("user_id"),
            strategy: event.string("strategy"),
            item_count: event.integer("item_count"),
            judged: 0,
            correct: 0,
            status: "started",
            started_at: event.occurred_at,
            ended_at: None,
            duration_seconds: None,
        }
    }
}

impl Sums {
    fn columns(&self) -> [String; 5] {
        [self.completed, self.abandoned, self.answers, self.correct, self.study_seconds].map(|sum| sum.to_string())
    }
}
