-- binds: one array a column of what is added to stored journeys, sorted by session_id; steps as JSON arrays
-- locks: learner_journeys by session_id
-- why one: all rows in one round trip; a journey that is not stored is none of its business
with stored as (
    select change.*
    from unnest($1::uuid[], $2::jsonb[], $3::text[]) as change (session_id, steps, outcome)
    join learner_journeys as journey using (session_id)
    order by journey.session_id
    for update of journey
)
update learner_journeys as journey
set steps = journey.steps || array(select jsonb_array_elements_text(stored.steps)),
    outcome = coalesce(stored.outcome, journey.outcome)
from stored
where journey.session_id = stored.session_id
