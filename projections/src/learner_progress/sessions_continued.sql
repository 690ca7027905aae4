-- binds: one array a column of what changes in sessions, sorted by session_id; a null status leaves the end as it is
-- locks: learning_sessions by session_id
-- why one: all rows in one round trip; returns the sessions that are stored, which are all that it touches, and their users
with stored as (
    select change.*
    from unnest($1::uuid[], $2::int[], $3::int[], $4::text[], $5::timestamptz[], $6::int[])
        as change (session_id, judged, correct, status, ended_at, duration_seconds)
    join learning_sessions as session using (session_id)
    order by session.session_id
    for update of session
)
update learning_sessions as session
set judged = session.judged + stored.judged,
    correct = session.correct + stored.correct,
    status = coalesce(stored.status, session.status),
    ended_at = coalesce(stored.ended_at, session.ended_at),
    duration_seconds = case when stored.status is null then session.duration_seconds else stored.duration_seconds end
from stored
where session.session_id = stored.session_id
returning session.session_id, session.user_id
