-- Binds: projection, operation, most rows, topic.
-- Locks: none. A step looks again, under lock.
-- One statement: the operation's decisions about the live generation, with its rate, the oldest letter first.
select parked.aggregate_id as "aggregate_id!", operation.rate
from parked_events as parked
join operations as operation on operation.id = parked.operation_id
join projections as live on live.name = parked.projection and live.generation = parked.generation
where parked.operation_id = $2
and parked.projection = $1
and parked.topic = $4
and parked.decision is not null
and not (
    operation.selection ? 'plan_token'
    and exists (select from operations_stop where stopped_until > clock_timestamp())
)
order by parked.id
limit $3
