-- Binds: projection, generation, position before the window, last position of the window, aggregate types.
-- Locks: none.
-- One statement, because count, age and place must be of the same moment. The inner limit: see ../sweep/unsettled.sql.
select
    count(*) as "events!",
    extract(epoch from clock_timestamp() - min(event.created_at))::float8 as seconds,
    min(event.position) as first
from events as event
left join lateral (
    select known.version, known.held
    from projected_aggregates as known
    where known.projection = $1
    and known.generation = $2
    and known.aggregate_id = event.aggregate_id
    limit 1
) as aggregate on true
where event.position > $3
and event.position <= $4
and event.aggregate_type = any($5::text[])
and event.event_version > coalesce(aggregate.version, 0)
and not coalesce(aggregate.held, false)
