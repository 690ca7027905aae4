-- binds: one array a column of what was done by user, sorted by user_id
-- locks: user_progress by user_id
-- why one: all rows in one round trip
insert into user_progress as progress (
    user_id, sessions_started, sessions_completed, sessions_abandoned, answers, correct, study_seconds,
    last_studied_at
)
select *
from unnest($1::uuid[], $2::int[], $3::int[], $4::int[], $5::int[], $6::int[], $7::bigint[], $8::timestamptz[])
on conflict (user_id) do update
set sessions_started = progress.sessions_started + excluded.sessions_started,
    sessions_completed = progress.sessions_completed + excluded.sessions_completed,
    sessions_abandoned = progress.sessions_abandoned + excluded.sessions_abandoned,
    answers = progress.answers + excluded.answers,
    correct = progress.correct + excluded.correct,
    study_seconds = progress.study_seconds + excluded.study_seconds,
    last_studied_at = greatest(progress.last_studied_at, excluded.last_studied_at)
