-- Binds: projection, generation, settled position, the releases and the settled position that the sweep saw before it
-- looked.
-- Locks: the progress row and the ids that are forgotten.
-- One statement, because ids may be forgotten only if the position that replaces them is remembered. If a hold ended
-- since the sweep looked, it does nothing: what was held then counted as settled and is not. Where nothing has moved,
-- it writes only a heartbeat now and then. Ids at or below the settled position that the sweep saw are forgotten already:
-- their dead entries in the index, which stay as long as somebody holds a snapshot, are not gone through again.
with progress as (
    update projection_progress
    set settled_position = greatest(settled_position, $3), swept_at = clock_timestamp()
    where projection = $1
    and generation = $2
    and releases = $4
    and (settled_position < $3 or swept_at is null or swept_at < clock_timestamp() - interval '5 seconds')
    returning settled_position
)
delete from processed_event_ids
using progress
where projection = $1
and generation = $2
and position > $5
and position <= progress.settled_position
