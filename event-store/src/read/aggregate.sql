-- Binds: aggregate id, first version, last version, most rows.
-- Locks: none.
-- One statement: one range of the index on (aggregate_id, event_version).
select
    position,
    event_id,
    aggregate_id,
    aggregate_type,
    event_type,
    event_version,
    event_data as "event_data: _",
    metadata as "metadata: _",
    occurred_at,
    created_at
from events
where aggregate_id = $1
and event_version between $2 and $3
order by event_version
limit $4
