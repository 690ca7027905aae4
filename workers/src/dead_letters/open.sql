-- Binds: projection, or null; topic; most rows.
-- Locks: none.
-- One statement for both: the operations that have decisions about the projection's events of the topic, or about the topic's messages.
-- While the projection is paused, there are none; while operations are stopped, none of a batch, which has a plan.
select operation.id
from operations as operation
where operation.state in ('pending', 'running')
and operation.kind in ('retry', 'discard')
and exists (
    select from parked_events as parked
    where parked.operation_id = operation.id
    and parked.decision is not null
    and parked.topic = $2
    and (($1::text is not null and parked.projection = $1) or ($1::text is null and parked.projection is null))
)
and not exists (
    select from projections as paused where paused.name = $1 and paused.paused_until > clock_timestamp()
)
and not (
    operation.selection ? 'plan_token'
    and exists (select from operations_stop where stopped_until > clock_timestamp())
)
order by operation.created_at
limit $3
