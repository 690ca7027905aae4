-- Binds: projection, a generation that is retired, most rows of each kind.
-- Locks: the rows that go, and the generation's.
-- When a step finds nothing any more, the generation is forgotten.
with aggregates as (
    delete from projected_aggregates
    where ctid = any(array(
        select ctid from projected_aggregates where projection = $1 and generation = $2 limit $3
    ))
    returning 1
),
ids as (
    delete from processed_event_ids
    where ctid = any(array(
        select ctid from processed_event_ids where projection = $1 and generation = $2 limit $3
    ))
    returning 1
),
letters as (
    delete from parked_events
    where id = any(array(
        select id from parked_events where projection = $1 and generation = $2 order by id limit $3
    ))
    returning 1
),
progress as (
    delete from projection_progress
    where projection = $1
    and generation = $2
)
update generations
set forgotten_at = clock_timestamp()
where projection = $1
and generation = $2
and retired_at is not null
and not exists (select from aggregates)
and not exists (select from ids)
and not exists (select from letters)
