-- Binds: projection, generation, position before the window, last position of the window, aggregate types.
-- Locks: none. Versions only rise, so that whatever looks settled here stays settled.
-- One statement, because one snapshot must show the events and how far their aggregates are applied.
select
    event.event_id,
    event.position,
    extract(epoch from clock_timestamp() - event.created_at)::float8 as "age_seconds!"
from events as event
left join projected_aggregates as aggregate
    on aggregate.projection = $1
    and aggregate.generation = $2
    and aggregate.aggregate_id = event.aggregate_id
where event.position > $3
and event.position <= $4
and event.aggregate_type = any($5::text[])
and event.event_version > coalesce(aggregate.version, 0)
and not coalesce(aggregate.held, false)
order by event.position
