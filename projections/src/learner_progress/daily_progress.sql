-- binds: one array a column of what was done by user and day, sorted by both
-- locks: daily_progress by (user_id, date)
-- why one: all rows in one round trip
insert into daily_progress as daily (
    user_id, date, sessions_completed, sessions_abandoned, answers, correct, study_seconds
)
select *
from unnest($1::uuid[], $2::date[], $3::int[], $4::int[], $5::int[], $6::int[], $7::bigint[])
on conflict (user_id, date) do update
set sessions_completed = daily.sessions_completed + excluded.sessions_completed,
    sessions_abandoned = daily.sessions_abandoned + excluded.sessions_abandoned,
    answers = daily.answers + excluded.answers,
    correct = daily.correct + excluded.correct,
    study_seconds = daily.study_seconds + excluded.study_seconds
