-- Binds: position before the window, last position of the window, aggregate types, event types, aggregate ids.
-- Locks: none.
-- One statement for filtered and unfiltered reading: an empty list wants all.
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
where position > $1
and position <= $2
and (cardinality($3::text[]) = 0 or aggregate_type = any($3))
and (cardinality($4::text[]) = 0 or event_type = any($4))
and (cardinality($5::uuid[]) = 0 or aggregate_id = any($5))
order by position
