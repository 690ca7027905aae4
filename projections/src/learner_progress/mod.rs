//! `learner_progress`: how learners get on, by session, item, day, and in all.
//!
//! An answer says which session it belongs to, not which user: that is known only where the session is stored. So
//! everything is folded by session, and the statements in `write` ask the stored sessions for their users.

#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, SubsecRound, Utc};
use events::progress::{CorrectnessJudged, Judgment, ProgressEvent, SessionStarted};
use events::{EventId, Recorded};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, Projection};

pub struct LearnerProgress;

#[derive(Debug, Default, PartialEq)]
pub struct Changes(BTreeMap<Uuid, Session>);

/// What changes because of one session: its own row, and what its user gains.
#[derive(Debug, Default, PartialEq)]
struct Session {
    started: Option<(SessionStarted, DateTime<Utc>)>,
    ended: Option<Ended>,
    /// By item.
    attempts: BTreeMap<Uuid, Attempts>,
    /// By UTC date; a start alone makes no day.
    days: BTreeMap<NaiveDate, Tally>,
    total: Tally,
    last_studied_at: Option<DateTime<Utc>>,
}

#[derive(Debug, PartialEq)]
struct Ended {
    status: &'static str,
    at: DateTime<Utc>,
    duration_seconds: Option<i32>,
}

#[derive(Debug, PartialEq)]
struct Attempts {
    count: i32,
    correct: i32,
    total_response_ms: i64,
    /// The greatest (time, event) and its judgment.
    last: (DateTime<Utc>, EventId),
    last_judgment: Judgment,
}

/// What an event adds to the counts of its day and of its user.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Tally {
    started: i32,
    completed: i32,
    abandoned: i32,
    answers: i32,
    correct: i32,
    study_seconds: i64,
}

impl Projection for LearnerProgress {
    const NAME: &'static str = "learner_progress";
    const VERSION: u32 = 1;
    const TABLES: &'static str = include_str!("schema.sql");
    type Event = ProgressEvent;
    type Changes = Changes;

    fn fold(changes: &mut Changes, event: &Recorded<ProgressEvent>) {
        match &event.data {
            ProgressEvent::SessionStarted(started) => changes.start(started, event.occurred_at),
            ProgressEvent::CorrectnessJudged(judged) => {
                let session = changes.0.entry(judged.session_id).or_default();
                session.judge(judged, event);
            }
            ProgressEvent::SessionCompleted(completed) => {
                let seconds = completed.duration_seconds;
                let session = changes.0.entry(completed.session_id).or_default();
                session.end("completed", event.occurred_at, Some(seconds));
                let gain = Tally { completed: 1, study_seconds: seconds.into(), ..Tally::default() };
                session.add(event.occurred_at, gain);
            }
            ProgressEvent::SessionAbandoned(abandoned) => {
                let session = changes.0.entry(abandoned.session_id).or_default();
                session.end("abandoned", event.occurred_at, None);
                session.add(event.occurred_at, Tally { abandoned: 1, ..Tally::default() });
            }
        }
    }

    async fn write(changes: Changes, db: &mut PgConnection) -> Result<(), Error> {
        let Changes(sessions) = changes;
        if sessions.is_empty() {
            return Ok(());
        }
        // The sessions first: the other tables learn their users from them.
        write::sessions_continued(&sessions, db).await?;
        write::sessions_started(&sessions, db).await?;
        write::item_mastery(&sessions, db).await?;
        write::daily_progress(&sessions, db).await?;
        write::user_progress(&sessions, db).await
    }
}

impl Changes {
    /// A session starts once. Whatever the batch held of it before had no session to count for.
    fn start(&mut self, started: &SessionStarted, at: DateTime<Utc>) {
        let session = self.0.entry(started.session_id).or_default();
        if session.started.is_none() {
            *session = Session { started: Some((started.clone(), at)), ..Session::default() };
        }
        session.total.started += 1;
        session.last_studied_at = session.last_studied_at.max(Some(at));
    }
}

impl Session {
    fn judge(&mut self, judged: &CorrectnessJudged, event: &Recorded<ProgressEvent>) {
        let correct = i32::from(judged.judgment.is_correct());
        self.add(event.occurred_at, Tally { answers: 1, correct, ..Tally::default() });

        // In microseconds, as the table has them: the last of one batch must be the last of two.
        let last = (event.occurred_at.trunc_subsecs(6), event.event_id);
        let item = self.attempts.entry(judged.item_id).or_insert(Attempts {
            count: 0,
            correct: 0,
            total_response_ms: 0,
            last,
            last_judgment: judged.judgment,
        });
        item.count += 1;
        item.correct += correct;
        item.total_response_ms = item.total_response_ms.saturating_add(judged.response_time_ms);
        if last > item.last {
            item.last = last;
            item.last_judgment = judged.judgment;
        }
    }

    fn end(&mut self, status: &'static str, at: DateTime<Utc>, duration_seconds: Option<i32>) {
        self.ended = Some(Ended { status, at, duration_seconds });
    }

    fn add(&mut self, at: DateTime<Utc>, gain: Tally) {
        self.total += gain;
        *self.days.entry(at.date_naive()).or_default() += gain;
        self.last_studied_at = self.last_studied_at.max(Some(at));
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, gain: Self) {
        self.started += gain.started;
        self.completed += gain.completed;
        self.abandoned += gain.abandoned;
        self.answers += gain.answers;
        self.correct += gain.correct;
        self.study_seconds += gain.study_seconds;
    }
}
