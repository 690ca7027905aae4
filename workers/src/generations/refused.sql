-- Binds: projection, the live generation, one that was folded from the same events by the code of today.
-- Locks: none.
-- What the fold has parked, and the live generation has not.
select
    count(*) as "events!",
    min(refused.error) as error
from (
    select fold.error
    from parked_events as fold
    where fold.projection = $1
    and fold.generation = $3
    and not exists (
        select
        from parked_events as parked
        where parked.projection = fold.projection
        and parked.generation = $2
        and parked.event_id = fold.event_id
    )
    order by fold.id
    limit 10000
) as refused
