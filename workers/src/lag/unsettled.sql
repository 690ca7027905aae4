-- Binds: projection, generation, settled position, aggregate types, most rows counted.
-- Locks: none.
-- One statement, because count and age must be of the same moment. The inner limit: see ../sweep/unsettled.sql.
select
    count(*) as "events!",
    coalesce(extract(epoch from clock_timestamp() - min(unsettled.created_at)), 0)::float8 as "seconds!"
from (
    select event.created_at
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
    and event.aggregate_type = any($4::text[])
    and event.event_version > coalesce(aggregate.version, 0)
    and not coalesce(aggregate.held, false)
    order by event.position
    limit $5
) as unsettled
