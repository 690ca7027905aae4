-- Binds: projection, the operation that asks for the pause.
-- Locks: the fence row, which is locked already.
-- One statement, because the pause is what the operation says, to the microsecond: asked again with the same key, it is
-- answered from the operation.
update projections
set
    paused_at = asked.created_at,
    paused_until = coalesce(
        asked.created_at + make_interval(secs => (asked.selection ->> 'seconds')::float8), 'infinity'
    ),
    paused_by = asked.actor,
    pause_reason = asked.reason
from operations as asked
where projections.name = $1
and asked.id = $2
