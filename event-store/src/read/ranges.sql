-- Binds: aggregate ids, their first versions, their last versions.
-- Locks: none.
-- One statement for all aggregates of a batch: a range of the index on (aggregate_id, event_version) for each.
select
    event.position,
    event.event_id,
    event.aggregate_id,
    event.aggregate_type,
    event.event_type,
    event.event_version,
    event.event_data as "event_data: _",
    event.metadata as "metadata: _",
    event.occurred_at,
    event.created_at
from unnest($1::uuid[], $2::integer[], $3::integer[]) as wanted (aggregate_id, first_version, last_version)
join events as event
    on event.aggregate_id = wanted.aggregate_id
    and event.event_version between wanted.first_version and wanted.last_version
