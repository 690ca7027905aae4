-- Binds: topic, most rows.
-- Locks: none.
-- One statement: the decisions about messages, with the rate of their operation, the oldest letter first. The inner
-- limit is reached in the order of the index on what is decided.
select
    parked.id,
    parked.decision as "decision!",
    parked.operation_id as "operation_id!",
    operation.rate,
    coalesce(parked.message_id, '') as "message_id!",
    parked.payload,
    parked.attributes as "attributes: Json<Attributes>"
from (
    select id, decision, operation_id, message_id, payload, attributes
    from parked_events
    where projection is null
    and topic = $1
    and decision is not null
    order by id
    limit $2
) as parked
join operations as operation on operation.id = parked.operation_id
order by parked.id
