-- Binds: projection, version of this code, most rows.
-- Locks: none.
-- The operations that have decisions about generations that are not live and that this code keeps. While operations are stopped,
-- none of a batch; while a rebuild is paused, none of what it builds.
select operation.id
from operations as operation
where operation.state in ('pending', 'running')
and operation.kind in ('retry', 'discard')
and exists (
    select
    from parked_events as parked
    join generations as generation
        on generation.projection = parked.projection and generation.generation = parked.generation
    left join operations as building on building.id = generation.operation_id
    where parked.operation_id = operation.id
    and parked.decision is not null
    and parked.projection = $1
    and generation.version = $2
    and generation.purpose = 'rebuild'
    and generation.live_since is null
    and generation.retired_at is null
    and (generation.kept_until is null or generation.kept_until > clock_timestamp())
    and coalesce(building.state, '') not in ('paused', 'cancelled', 'failed')
)
and not (
    operation.selection ? 'plan_token'
    and exists (select from operations_stop where stopped_until > clock_timestamp())
)
order by operation.created_at
limit $3
