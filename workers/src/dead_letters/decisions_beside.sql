-- Binds: projection, operation, version of this code, most rows.
-- Locks: none. A step looks again, under lock.
-- One statement: the operation's decisions about generations that are not live and that this code keeps, with its rate, the
-- oldest letter first.
select parked.aggregate_id as "aggregate_id!", parked.generation as "generation!", operation.rate
from parked_events as parked
join operations as operation on operation.id = parked.operation_id
join generations as generation
    on generation.projection = parked.projection and generation.generation = parked.generation
left join operations as building on building.id = generation.operation_id
where parked.operation_id = $2
and parked.projection = $1
and parked.decision is not null
and generation.version = $3
and generation.purpose = 'rebuild'
and generation.live_since is null
and generation.retired_at is null
and (generation.kept_until is null or generation.kept_until > clock_timestamp())
and coalesce(building.state, '') not in ('paused', 'cancelled', 'failed')
and not (
    operation.selection ? 'plan_token'
    and exists (select from operations_stop where stopped_until > clock_timestamp())
)
order by parked.id
limit $4
