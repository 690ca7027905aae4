//! `learner_progress`: how learners get on, by session, item, day, and in all.
//!
//! An answer says which session it belongs to, not which user: that is known only where the session is stored. So
//! everything is folded by session, and `write` asks the stored sessions for their users.

#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::topics::progress::{CorrectnessJudged, Judgment, ProgressEvent, SessionStarted};
use fleet::chrono::{DateTime, NaiveDate, SubsecRound, Utc};
use fleet::uuid::Uuid;
use fleet::{EventId, Recorded};
use sqlx::PgConnection;

use fleet::{Error, Projection};

pub struct LearnerProgress;

#[derive(Debug, Default, PartialEq)]
pub struct Changes(BTreeMap<Uuid, Session>);

/// What changes because of one session. Whether it is stored already only `write` can see.
#[derive(Debug, Default, PartialEq)]
struct Session {
    /// Where the batch has its start. Counts only if the session is not stored.
    started: Option<(SessionStarted, DateTime<Utc>)>,
    /// Before that start. Counts only if the session is stored.
    before: Option<Box<Gains>>,
    since: Gains,
}

/// What a session's row and its user gain. Of a user, who may have several sessions, the end of one says nothing.
#[derive(Debug, Default, PartialEq)]
struct Gains {
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
                changes.session(judged.session_id).judge(judged, event);
            }
            ProgressEvent::SessionCompleted(completed) => {
                let seconds = completed.duration_seconds;
                let session = changes.session(completed.session_id);
                session.end("completed", event.occurred_at, Some(seconds));
                let gain = Tally { completed: 1, study_seconds: seconds.into(), ..Tally::default() };
                session.add(event.occurred_at, gain);
            }
            ProgressEvent::SessionAbandoned(abandoned) => {
                let session = changes.session(abandoned.session_id);
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
        // The sessions first: what they gain is their users'.
        let stored = write::sessions_continued(&sessions, db).await?;
        let mut owners = write::sessions_started(&sessions, db).await?;
        owners.extend(&stored);
        // A start that came before, alone, and now again.
        let others: Vec<_> = sessions.keys().copied().filter(|id| !owners.contains_key(id)).collect();
        owners.extend(write::sessions_known(&others, db).await?);
        let mut users = BTreeMap::<Uuid, Gains>::new();
        for (id, session) in sessions {
            // What is said of a session that never started is nobody's.
            if let Some(user) = owners.get(&id) {
                users.entry(*user).or_default().absorb(session.gained(stored.contains_key(&id)));
            }
        }
        write::item_mastery(&users, db).await?;
        write::daily_progress(&users, db).await?;
        write::user_progress(&users, db).await
    }
}

impl Changes {
    fn session(&mut self, id: Uuid) -> &mut Gains {
        &mut self.0.entry(id).or_default().since
    }

    /// A session starts once, and every start is study.
    fn start(&mut self, started: &SessionStarted, at: DateTime<Utc>) {
        let session = self.0.entry(started.session_id).or_default();
        if session.started.is_none() {
            session.started = Some((started.clone(), at));
            let before = std::mem::take(&mut session.since);
            session.before = (before != Gains::default()).then(|| Box::new(before));
        }
        session.since.total.started += 1;
        session.since.last_studied_at = session.since.last_studied_at.max(Some(at));
    }
}

impl Session {
    /// What it comes to, if it is stored already or not.
    fn gained(self, stored: bool) -> Gains {
        match self.before {
            Some(mut before) if stored => {
                before.absorb(self.since);
                *before
            }
            _ => self.since,
        }
    }

    /// A start alone adds nothing to the row of a session that is stored.
    fn is_more_than_a_start(&self) -> bool {
        self.before.is_some() || self.answers() > 0 || self.ended().is_some()
    }

    /// In all of the batch: for a session that is stored.
    fn answers(&self) -> i32 {
        self.since.total.answers + self.before.as_ref().map_or(0, |before| before.total.answers)
    }

    fn correct(&self) -> i32 {
        self.since.total.correct + self.before.as_ref().map_or(0, |before| before.total.correct)
    }

    fn ended(&self) -> Option<&Ended> {
        self.since.ended.as_ref().or_else(|| self.before.as_ref()?.ended.as_ref())
    }
}

impl Gains {
    fn judge(&mut self, judged: &CorrectnessJudged, event: &Recorded<ProgressEvent>) {
        let correct = i32::from(judged.judgment.is_correct());
        self.add(event.occurred_at, Tally { answers: 1, correct, ..Tally::default() });

        // In microseconds, as the table has them: the last of one batch must be the last of two.
        let last = (event.occurred_at.trunc_subsecs(6), event.event_id);
        let attempt = Attempts {
            count: 1,
            correct,
            total_response_ms: judged.response_time_ms,
            last,
            last_judgment: judged.judgment,
        };
        self.attempt(judged.item_id, attempt);
    }

    fn attempt(&mut self, item_id: Uuid, attempts: Attempts) {
        match self.attempts.entry(item_id) {
            Entry::Vacant(first) => {
                first.insert(attempts);
            }
            Entry::Occupied(item) => item.into_mut().absorb(attempts),
        }
    }

    /// What came after.
    fn absorb(&mut self, later: Self) {
        self.ended = later.ended.or(self.ended.take());
        for (item_id, attempts) in later.attempts {
            self.attempt(item_id, attempts);
        }
        for (date, tally) in later.days {
            *self.days.entry(date).or_default() += tally;
        }
        self.total += later.total;
        self.last_studied_at = self.last_studied_at.max(later.last_studied_at);
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

impl Attempts {
    /// Sums of times cannot overflow: an event's own is bounded.
    fn absorb(&mut self, more: Self) {
        self.count += more.count;
        self.correct += more.correct;
        self.total_response_ms += more.total_response_ms;
        if more.last > self.last {
            self.last = more.last;
            self.last_judgment = more.last_judgment;
        }
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
