-- Binds: projection, most rows.
-- Locks: none. A step looks again, under lock.
-- One statement: the decisions about the live generation, with the rate of their operation, the oldest letter first. The
-- inner limit is reached in the order of the index on what is decided.
select parked.aggregate_id as "aggregate_id!", operation.rate
from projections as live
cross join lateral (
    select decided.id, decided.aggregate_id, decided.operation_id
    from parked_events as decided
    where decided.projection = live.name
    and decided.generation = live.generation
    and decided.decision is not null
    order by decided.id
    limit $2
) as parked
join operations as operation on operation.id = parked.operation_id
where live.name = $1
order by parked.id
