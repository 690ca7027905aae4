//! A read model that is one row for 22 events: what a rebuild costs besides writing.

use std::collections::BTreeMap;

use fleet::uuid::Uuid;
use fleet::{Error, Projection, Recorded, column};
use projections::topics::progress::ProgressEvent;
use sqlx::PgConnection;

pub struct Answers;

#[derive(Debug, Default)]
pub struct Changes(BTreeMap<Uuid, (i32, i32)>);

impl Projection for Answers {
    const NAME: &'static str = "answers";
    const VERSION: u32 = 1;
    const TABLES: &'static str =
        "create table answers (session_id uuid primary key, answers int not null, correct int not null)";
    type Event = ProgressEvent;
    type Changes = Changes;

    fn fold(changes: &mut Changes, event: &Recorded<ProgressEvent>) {
        let (id, answers, correct) = match &event.data {
            ProgressEvent::CorrectnessJudged(judged) => (judged.session_id, 1, judged.judgment.is_correct().into()),
            ProgressEvent::SessionStarted(started) => (started.session_id, 0, 0),
            ProgressEvent::SessionCompleted(completed) => (completed.session_id, 0, 0),
            ProgressEvent::SessionAbandoned(abandoned) => (abandoned.session_id, 0, 0),
        };
        let counts = changes.0.entry(id).or_default();
        *counts = (counts.0 + answers, counts.1 + correct);
    }

    async fn write(changes: Changes, db: &mut PgConnection) -> Result<(), Error> {
        let statement = "insert into answers select * from unnest($1::uuid[], $2::int[], $3::int[])
                         on conflict (session_id) do update
                         set answers = answers.answers + excluded.answers, correct = answers.correct + excluded.correct";
        sqlx::query(statement)
            .bind(column(&changes.0, |(id, _)| *id))
            .bind(column(&changes.0, |(_, counts)| counts.0))
            .bind(column(&changes.0, |(_, counts)| counts.1))
            .execute(db)
            .await?;
        Ok(())
    }
}
