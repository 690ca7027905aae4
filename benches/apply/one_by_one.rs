//! `learner_progress` as a careful author writes it without a runtime: a transaction per event, a statement per row.
//!
//! One connection, prepared statements with kept plans, nothing asked twice: a judged answer is eight round trips.

use anyhow::{Context, Result};
use chrono::NaiveDate;
use events::{EventId, Payload, Recorded};
use projections::topics::progress::{CorrectnessJudged, ProgressEvent, SessionStarted};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::server::Database;

const PROJECTION: &str = "learner_progress";
const GENERATION: i32 = 1;

pub struct OneByOne {
    db: PgConnection,
}

/// What an event adds to its day and to its user.
#[derive(Default)]
struct Gain {
    completed: i32,
    abandoned: i32,
    answers: i32,
    correct: i32,
    study_seconds: i64,
}

impl OneByOne {
    pub async fn connect(database: &Database) -> Result<Self> {
        let options = database.options()?.options([("search_path", "learner_progress, public"), ("jit", "off")]);
        Ok(Self { db: PgConnection::connect_with(&options).await? })
    }

    pub async fn apply(&mut self, event: &Recorded<Payload>) -> Result<()> {
        let decoded = event.decode::<ProgressEvent>()?;
        let mut tx = self.db.begin().await?;
        if !remember(&mut tx, event).await? {
            return Ok(tx.rollback().await?);
        }
        // One of a type that nobody listens to is settled all the same.
        if let Some(event) = decoded {
            apply(&mut tx, &event).await?;
        }
        move_on(&mut tx, event).await?;
        Ok(tx.commit().await?)
    }
}

/// `false`: it was applied before.
async fn remember(db: &mut PgConnection, event: &Recorded<Payload>) -> Result<bool> {
    let inserted = sqlx::query(
        "insert into processed_event_ids (projection, generation, event_id, position)
         values ($1, $2, $3, $4)
         on conflict do nothing",
    )
    .bind(PROJECTION)
    .bind(GENERATION)
    .bind(event.event_id.0)
    .bind(event.position.0);
    Ok(inserted.execute(db).await?.rows_affected() == 1)
}

async fn move_on(db: &mut PgConnection, event: &Recorded<Payload>) -> Result<()> {
    sqlx::query(
        "insert into projected_aggregates (projection, generation, aggregate_id, version)
         values ($1, $2, $3, $4)
         on conflict (projection, generation, aggregate_id) do update
         set version = excluded.version",
    )
    .bind(PROJECTION)
    .bind(GENERATION)
    .bind(event.aggregate_id.0)
    .bind(event.version.0)
    .execute(db)
    .await?;
    Ok(())
}

async fn apply(db: &mut PgConnection, event: &Recorded<ProgressEvent>) -> Result<()> {
    let day = event.occurred_at.date_naive();
    match &event.data {
        ProgressEvent::SessionStarted(started) => start(db, started, event).await,
        ProgressEvent::CorrectnessJudged(judged) => {
            let correct = i32::from(judged.judgment.is_correct());
            let user_id = judge(db, judged, correct).await?;
            master(db, user_id, judged, correct, event).await?;
            let gain = Gain { answers: 1, correct, ..Gain::default() };
            add_to_day(db, user_id, day, &gain).await?;
            add_to_user(db, user_id, &gain, event).await
        }
        ProgressEvent::SessionCompleted(completed) => {
            let seconds = completed.duration_seconds;
            let user_id = finish(db, completed.session_id, "completed", Some(seconds), event).await?;
            let gain = Gain { completed: 1, study_seconds: seconds.into(), ..Gain::default() };
            add_to_day(db, user_id, day, &gain).await?;
            add_to_user(db, user_id, &gain, event).await
        }
        ProgressEvent::SessionAbandoned(abandoned) => {
            let user_id = finish(db, abandoned.session_id, "abandoned", None, event).await?;
            let gain = Gain { abandoned: 1, ..Gain::default() };
            add_to_day(db, user_id, day, &gain).await?;
            add_to_user(db, user_id, &gain, event).await
        }
    }
}

async fn start(db: &mut PgConnection, started: &SessionStarted, event: &Recorded<ProgressEvent>) -> Result<()> {
    sqlx::query(
        "insert into learning_sessions (
             session_id, user_id, strategy, item_count, judged, correct, status, started_at
         )
         values ($1, $2, $3, $4, 0, 0, 'started', $5)
         on conflict do nothing",
    )
    .bind(started.session_id)
    .bind(started.user_id)
    .bind(&started.strategy)
    .bind(started.item_count)
    .bind(event.occurred_at)
    .execute(&mut *db)
    .await?;
    sqlx::query(
        "insert into user_progress as progress (
             user_id, sessions_started, sessions_completed, sessions_abandoned, answers, correct, study_seconds,
             last_studied_at
         )
         values ($1, 1, 0, 0, 0, 0, 0, $2)
         on conflict (user_id) do update
         set sessions_started = progress.sessions_started + 1,
             last_studied_at = greatest(progress.last_studied_at, excluded.last_studied_at)",
    )
    .bind(started.user_id)
    .bind(event.occurred_at)
    .execute(db)
    .await?;
    Ok(())
}

/// The learner whose session it is.
async fn judge(db: &mut PgConnection, judged: &CorrectnessJudged, correct: i32) -> Result<Uuid> {
    sqlx::query_scalar(
        "update learning_sessions
         set judged = judged + 1, correct = correct + $2
         where session_id = $1
         returning user_id",
    )
    .bind(judged.session_id)
    .bind(correct)
    .fetch_optional(db)
    .await?
    .context("the sample has an answer without a session")
}

async fn finish(
    db: &mut PgConnection,
    session_id: Uuid,
    status: &'static str,
    duration_seconds: Option<i32>,
    event: &Recorded<ProgressEvent>,
) -> Result<Uuid> {
    sqlx::query_scalar(
        "update learning_sessions
         set status = $2, ended_at = $3, duration_seconds = $4
         where session_id = $1
         returning user_id",
    )
    .bind(session_id)
    .bind(status)
    .bind(event.occurred_at)
    .bind(duration_seconds)
    .fetch_optional(db)
    .await?
    .context("the sample has an end without a session")
}

async fn master(
    db: &mut PgConnection,
    user_id: Uuid,
    judged: &CorrectnessJudged,
    correct: i32,
    event: &Recorded<ProgressEvent>,
) -> Result<()> {
    let EventId(event_id) = event.event_id;
    sqlx::query(
        "insert into item_mastery as mastery (
             user_id, item_id, attempts, correct, total_response_ms, last_judgment, last_judged_at, last_event_id
         )
         values ($1, $2, 1, $3, $4, $5, $6, $7)
         on conflict (user_id, item_id) do update
         set attempts = mastery.attempts + 1,
             correct = mastery.correct + excluded.correct,
             total_response_ms = mastery.total_response_ms + excluded.total_response_ms,
             last_judgment = case
                 when (excluded.last_judged_at, excluded.last_event_id) > (mastery.last_judged_at, mastery.last_event_id)
                     then excluded.last_judgment
                 else mastery.last_judgment
             end,
             last_event_id = case
                 when (excluded.last_judged_at, excluded.last_event_id) > (mastery.last_judged_at, mastery.last_event_id)
                     then excluded.last_event_id
                 else mastery.last_event_id
             end,
             last_judged_at = greatest(mastery.last_judged_at, excluded.last_judged_at)",
    )
    .bind(user_id)
    .bind(judged.item_id)
    .bind(correct)
    .bind(judged.response_time_ms)
    .bind(judged.judgment.as_str())
    .bind(event.occurred_at)
    .bind(event_id)
    .execute(db)
    .await?;
    Ok(())
}

async fn add_to_day(db: &mut PgConnection, user_id: Uuid, day: NaiveDate, gain: &Gain) -> Result<()> {
    sqlx::query(
        "insert into daily_progress as daily (
             user_id, date, sessions_completed, sessions_abandoned, answers, correct, study_seconds
         )
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (user_id, date) do update
         set sessions_completed = daily.sessions_completed + excluded.sessions_completed,
             sessions_abandoned = daily.sessions_abandoned + excluded.sessions_abandoned,
             answers = daily.answers + excluded.answers,
             correct = daily.correct + excluded.correct,
             study_seconds = daily.study_seconds + excluded.study_seconds",
    )
    .bind(user_id)
    .bind(day)
    .bind(gain.completed)
    .bind(gain.abandoned)
    .bind(gain.answers)
    .bind(gain.correct)
    .bind(gain.study_seconds)
    .execute(db)
    .await?;
    Ok(())
}

async fn add_to_user(db: &mut PgConnection, user_id: Uuid, gain: &Gain, event: &Recorded<ProgressEvent>) -> Result<()> {
    sqlx::query(
        "insert into user_progress as progress (
             user_id, sessions_started, sessions_completed, sessions_abandoned, answers, correct, study_seconds,
             last_studied_at
         )
         values ($1, 0, $2, $3, $4, $5, $6, $7)
         on conflict (user_id) do update
         set sessions_completed = progress.sessions_completed + excluded.sessions_completed,
             sessions_abandoned = progress.sessions_abandoned + excluded.sessions_abandoned,
             answers = progress.answers + excluded.answers,
             correct = progress.correct + excluded.correct,
             study_seconds = progress.study_seconds + excluded.study_seconds,
             last_studied_at = greatest(progress.last_studied_at, excluded.last_studied_at)",
    )
    .bind(user_id)
    .bind(gain.completed)
    .bind(gain.abandoned)
    .bind(gain.answers)
    .bind(gain.correct)
    .bind(gain.study_seconds)
    .bind(event.occurred_at)
    .execute(db)
    .await?;
    Ok(())
}
