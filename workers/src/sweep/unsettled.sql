-- Binds: projection, generation, position before the window, last position of the window, aggregate types, most rows.
-- Locks: none. Versions only rise, so that whatever looks settled here stays settled.
-- One statement, because one snapshot must show the events and how far their aggregates are applied. The limit keeps
-- the planner from joining otherwise than by the key, which it would do while it has no statistics.
select
    event.event_id,
    event.position,
    extract(epoch from clock_timestamp() - event.created_at)::float8 as "age_seconds!"
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
order by event.position
limit $6
