-- Binds: projection, generation, settled position, the releases and the settled position that the sweep saw before it
-- looked; topic.
-- Locks: the topic's progress row and the ids that are forgotten.
-- One statement, because ids may be forgotten only if the position that replaces them is remembered. If a hold ended
-- since the sweep looked, it moves nothing: what was held then counted as settled and is not. The heartbeat is written
-- all the same, now and then: a sweep that must look again is alive. A time in the future is from before the clock went back.
-- Ids at or below the settled position that the sweep saw are forgotten already: their dead entries in the index, which
-- stay as long as somebody holds a snapshot, are not gone through again.
with progress as (
    update projection_progress
    set
        settled_position = case when releases = $4 then greatest(settled_position, $3) else settled_position end,
        swept_at = clock_timestamp()
    where projection = $1
    and generation = $2
    and topic = $6
    and (
        (releases = $4 and settled_position < $3)
        or swept_at is null
        or swept_at not between clock_timestamp() - interval '5 seconds' and clock_timestamp()
    )
    returning settled_position, releases = $4 as undisturbed
),
forgotten as (
    delete from processed_event_ids
    using progress
    where projection = $1
    and generation = $2
    and position > $5
    and position <= progress.settled_position
    and coalesce(processed_event_ids.topic, $6) = $6
)
select undisturbed as "undisturbed!"
from progress
