//! The statements of `learner_progress`: a table each, and a look at whose the sessions are.

use std::collections::BTreeMap;

use fleet::uuid::Uuid;
use sqlx::PgConnection;

use super::{Gains, Session};
use fleet::{Error, column};

type Sessions = BTreeMap<Uuid, Session>;

/// The user of each session.
pub(super) type Owners = BTreeMap<Uuid, Uuid>;

/// What each user gains.
type Users = BTreeMap<Uuid, Gains>;

/// Adds to the sessions that are stored, and says which of those with something to add they are.
pub(super) async fn sessions_continued(sessions: &Sessions, db: &mut PgConnection) -> Result<Owners, Error> {
    let continued: Vec<_> = sessions.iter().filter(|(_, session)| session.is_more_than_a_start()).collect();
    if continued.is_empty() {
        return Ok(Owners::new());
    }
    let stored = sqlx::query_file!(
        "src/learner_progress/sessions_continued.sql",
        &column(&continued, |(id, _)| **id),
        &column(&continued, |(_, session)| session.answers()),
        &column(&continued, |(_, session)| session.correct()),
        &column(&continued, |(_, session)| session.ended().map(|ended| ended.status)) as _,
        &column(&continued, |(_, session)| session.ended().map(|ended| ended.at)) as _,
        &column(&continued, |(_, session)| session.ended()?.duration_seconds) as _,
    )
    .fetch_all(db)
    .await?;
    Ok(stored.into_iter().map(|row| (row.session_id, row.user_id)).collect())
}

/// Stores the sessions that start in this batch, with all that has become of them since, and says which are new; those that
/// are stored stay.
pub(super) async fn sessions_started(sessions: &Sessions, db: &mut PgConnection) -> Result<Owners, Error> {
    let started = sessions.iter().filter_map(|(id, session)| Some((id, &session.since, session.started.as_ref()?)));
    let started: Vec<_> = started.map(|(id, session, (start, at))| (*id, session, start, *at)).collect();
    if started.is_empty() {
        return Ok(Owners::new());
    }
    let new = sqlx::query_file!(
        "src/learner_progress/sessions_started.sql",
        &column(&started, |(id, ..)| *id),
        &column(&started, |(_, _, start, _)| start.user_id),
        &column(&started, |(_, _, start, _)| start.strategy.as_str()) as _,
        &column(&started, |(_, _, start, _)| start.item_count),
        &column(&started, |(_, session, ..)| session.total.answers),
        &column(&started, |(_, session, ..)| session.total.correct),
        &column(&started, |(_, session, ..)| session.ended.as_ref().map_or("started", |ended| ended.status)) as _,
        &column(&started, |(_, _, _, at)| *at),
        &column(&started, |(_, session, ..)| session.ended.as_ref().map(|ended| ended.at)) as _,
        &column(&started, |(_, session, ..)| session.ended.as_ref()?.duration_seconds) as _,
    )
    .fetch_all(db)
    .await?;
    Ok(new.into_iter().map(|row| (row.session_id, row.user_id)).collect())
}

/// Whose these are, of those that are stored.
pub(super) async fn sessions_known(sessions: &[Uuid], db: &mut PgConnection) -> Result<Owners, Error> {
    if sessions.is_empty() {
        return Ok(Owners::new());
    }
    let known = sqlx::query_file!("src/learner_progress/sessions_known.sql", sessions).fetch_all(db).await?;
    Ok(known.into_iter().map(|row| (row.session_id, row.user_id)).collect())
}

pub(super) async fn item_mastery(users: &Users, db: &mut PgConnection) -> Result<(), Error> {
    let attempts = users.iter().flat_map(|(id, gains)| gains.attempts.iter().map(move |row| (*id, row)));
    let attempts: Vec<_> = attempts.map(|(id, (item_id, attempts))| (id, *item_id, attempts)).collect();
    if attempts.is_empty() {
        return Ok(());
    }
    sqlx::query_file!(
        "src/learner_progress/item_mastery.sql",
        &column(&attempts, |(user_id, ..)| *user_id),
        &column(&attempts, |(_, item_id, _)| *item_id),
        &column(&attempts, |(.., attempts)| attempts.count),
        &column(&attempts, |(.., attempts)| attempts.correct),
        &column(&attempts, |(.., attempts)| attempts.total_response_ms),
        &column(&attempts, |(.., attempts)| attempts.last_judgment.as_str()) as _,
        &column(&attempts, |(.., attempts)| attempts.last.0),
        &column(&attempts, |(.., attempts)| attempts.last.1.0),
    )
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn daily_progress(users: &Users, db: &mut PgConnection) -> Result<(), Error> {
    let days = users.iter().flat_map(|(id, gains)| gains.days.iter().map(move |row| (*id, row)));
    let days: Vec<_> = days.map(|(id, (date, tally))| (id, *date, tally)).collect();
    if days.is_empty() {
        return Ok(());
    }
    sqlx::query_file!(
        "src/learner_progress/daily_progress.sql",
        &column(&days, |(user_id, ..)| *user_id),
        &column(&days, |(_, date, _)| *date),
        &column(&days, |(.., tally)| tally.completed),
        &column(&days, |(.., tally)| tally.abandoned),
        &column(&days, |(.., tally)| tally.answers),
        &column(&days, |(.., tally)| tally.correct),
        &column(&days, |(.., tally)| tally.study_seconds),
    )
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn user_progress(users: &Users, db: &mut PgConnection) -> Result<(), Error> {
    if users.is_empty() {
        return Ok(());
    }
    sqlx::query_file!(
        "src/learner_progress/user_progress.sql",
        &column(users, |(user_id, _)| *user_id),
        &column(users, |(_, gains)| gains.total.started),
        &column(users, |(_, gains)| gains.total.completed),
        &column(users, |(_, gains)| gains.total.abandoned),
        &column(users, |(_, gains)| gains.total.answers),
        &column(users, |(_, gains)| gains.total.correct),
        &column(users, |(_, gains)| gains.total.study_seconds),
        &column(users, |(_, gains)| gains.last_studied_at) as _,
    )
    .execute(db)
    .await?;
    Ok(())
}
