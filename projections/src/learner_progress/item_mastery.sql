-- binds: one array a column of the attempts by session and item
-- locks: item_mastery by (user_id, item_id)
-- why one: only the session knows the user, and two sessions of one learner may hold the same item
insert into item_mastery as mastery (
    user_id, item_id, attempts, correct, total_response_ms, last_judgment, last_judged_at, last_event_id
)
select
    session.user_id,
    attempt.item_id,
    sum(attempt.attempts),
    sum(attempt.correct),
    sum(attempt.total_response_ms),
    (array_agg(attempt.last_judgment order by attempt.last_judged_at desc, attempt.last_event_id desc))[1],
    max(attempt.last_judged_at),
    (array_agg(attempt.last_event_id order by attempt.last_judged_at desc, attempt.last_event_id desc))[1]
from unnest(
        $1::uuid[], $2::uuid[], $3::int[], $4::int[], $5::bigint[], $6::text[], $7::timestamptz[], $8::uuid[]
    ) as attempt (
        session_id, item_id, attempts, correct, total_response_ms, last_judgment, last_judged_at, last_event_id
    )
join learning_sessions as session using (session_id)
group by session.user_id, attempt.item_id
order by session.user_id, attempt.item_id
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
