-- Binds: topic, operation, most rows.
-- Locks: none.
-- One statement: the operation's decisions about messages, with its rate, the oldest letter first.
select
    parked.id,
    parked.decision as "decision!",
    parked.operation_id as "operation_id!",
    operation.rate,
    coalesce(parked.message_id, '') as "message_id!",
    parked.payload,
    parked.attributes as "attributes: Json<Attributes>"
from parked_events as parked
join operations as operation on operation.id = parked.operation_id
where parked.projection is null
and parked.topic = $1
and parked.operation_id = $2
and parked.decision is not null
and not (
    operation.selection ? 'plan_token'
    and exists (select from operations_stop where stopped_until > clock_timestamp())
)
order by parked.id
limit $3
