-- binds: one array a column of the attempts by user and item, sorted by both
-- locks: item_mastery by (user_id, item_id)
-- why one: all rows in one round trip
insert into item_mastery as mastery (
    user_id, item_id, attempts, correct, total_response_ms, last_judgment, last_judged_at, last_event_id
)
select *
from unnest($1::uuid[], $2::uuid[], $3::int[], $4::int[], $5::bigint[], $6::text[], $7::timestamptz[], $8::uuid[])
on conflict (user_id, item_id) do update
set attempts = mastery.attempts + excluded.attempts,
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
    last_judged_at = greatest(mastery.last_judged_at, excluded.last_judged_at)
