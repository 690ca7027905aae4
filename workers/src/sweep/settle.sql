-- Binds: projection, generation, settled position.
-- Locks: the progress row and the ids that are forgotten.
-- One statement, because ids may be forgotten only if the position that replaces them is remembered.
with progress as (
    update projection_progress
    set settled_position = greatest(settled_position, $3), swept_at = clock_timestamp()
    where projection = $1
    and generation = $2
    returning settled_position
)
delete from processed_event_ids
using progress
where projection = $1
and generation = $2
and position <= progress.settled_position
