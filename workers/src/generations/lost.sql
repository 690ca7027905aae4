-- Binds: projection, a generation, the live one.
-- Locks: none.
-- Events that are parked in the one and applied in the other: readers would lose them. At most 10,000 are counted.
select count(*) as "lost!"
from (
    select
    from parked_events as parked
    join projected_aggregates as applied
        on applied.projection = parked.projection
        and applied.generation = $3
        and applied.aggregate_id = parked.aggregate_id
    where parked.projection = $1
    and parked.generation = $2
    and parked.event_version <= applied.version
    limit 10000
) as counted
