-- binds: one array a column of the sessions that start in this batch, sorted by session_id
-- locks: learning_sessions by session_id
-- why one: all rows in one round trip; a session starts once, a second start changes nothing; returns those that are new
insert into learning_sessions (
    session_id, user_id, strategy, item_count, judged, correct, status, started_at, ended_at, duration_seconds
)
select *
from unnest(
    $1::uuid[], $2::uuid[], $3::text[], $4::int[], $5::int[], $6::int[],
    $7::text[], $8::timestamptz[], $9::timestamptz[], $10::int[]
)
on conflict (session_id) do nothing
returning session_id, user_id
