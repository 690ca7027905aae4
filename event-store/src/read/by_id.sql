-- Binds: event ids.
-- Locks: none.
-- One statement for all messages of a batch.
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
where event_id = any($1::uuid[])
