-- binds: one array a column of the journeys that begin in this batch, sorted by session_id; steps as JSON arrays
-- locks: learner_journeys by session_id
-- why one: all rows in one round trip; a session starts once, a second start changes nothing
insert into learner_journeys (session_id, user_id, steps, outcome)
select session_id, user_id, array(select jsonb_array_elements_text(steps)), outcome
from unnest($1::uuid[], $2::uuid[], $3::jsonb[], $4::text[]) as journey (session_id, user_id, steps, outcome)
on conflict (session_id) do nothing
