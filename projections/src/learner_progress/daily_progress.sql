-- binds: one array a column of what was done by session and day
-- locks: daily_progress by (user_id, date)
-- why one: only the session knows the user, and two sessions of one learner may fall on the same day
insert into daily_progress as daily (
    user_id, date, sessions_completed, sessions_abandoned, answers, correct, study_seconds
)
select
    session.user_id,
    done.date,
    sum(done.completed),
    sum(done.abandoned),
    sum(done.answers),
    sum(done.correct),
    sum(done.study_seconds)
from unnest($1::uuid[], $2::date[], $3::int[], $4::int[], $5::int[], $6::int[], $7::bigint[])
    as done (session_id, date, completed, abandoned, answers, correct, study_seconds)
join learning_sessions as session using (session_id)
group by session.user_id, done.date
order by session.user_id, done.date
on conflict (user_id, date) do update
set sessions_completed = daily.sessions_completed + excluded.sessions_completed,
    sessions_abandoned = daily.sessions_abandoned + excluded.sessions_abandoned,
    answers = daily.answers + excluded.answers,
    correct = daily.correct + excluded.correct,
    study_seconds = daily.study_seconds + excluded.study_seconds
