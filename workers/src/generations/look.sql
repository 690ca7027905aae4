-- Binds: projection, generation, part.
-- Locks: none.
-- What is wanted of a part now. No row: nothing any more.
select
    part.position,
    operation.state as "state?: State",
    case when coalesce(operation.rate_until, 'infinity') > clock_timestamp() then operation.rate end as rate,
    (
        select format('%s: %s', stop.stopped_by, stop.reason)
        from operations_stop as stop
        where stop.stopped_until > clock_timestamp()
    ) as stopped_by,
    generation.built_at is not null as "built!",
    generation.purpose = 'verify' as "verify!",
    generation.upto,
    operation.traceparent
from generations as generation
join generation_parts as part
    on part.projection = generation.projection and part.generation = generation.generation
left join operations as operation on operation.id = generation.operation_id
where generation.projection = $1
and (generation.purpose = 'rebuild' or generation.built_at is null)
and generation.generation = $2
and part.part = $3
and generation.live_since is null
and generation.retired_at is null
and (generation.kept_until is null or generation.kept_until > clock_timestamp())
