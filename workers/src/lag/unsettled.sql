-- Binds: projection, generation, settled position, aggregate types, most rows counted.
-- Locks: none.
-- One statement, because count and age must be of the same moment.
select
    count(*) as "events!",
    coalesce(extract(epoch from clock_timestamp() - min(unsettled.created_at)), 0)::float8 as "seconds!"
from (
    select event.created_at
    from events as event
    left join projected_aggregates as aggregate
        on aggregate.projection = $1
        and aggregate.generation = $2
        and aggregate.aggregate_id = event.aggregate_id
    where event.position > $3
    and event.aggregate_type = any($4::text[])
    and event.event_version > coalesce(aggregate.version, 0)
    and not coalesce(aggregate.held, false)
    order by event.position
    limit $5
) as unsettled
