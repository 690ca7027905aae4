-- Binds: the id of a dead letter that was decided to be discarded.
-- Locks: its row, which goes.
-- One statement, because it must be in one place or in the other.
with gone as (
    delete from parked_events
    where id = $1
    and decision = 'discard'
    returning *
)
insert into discarded_events (
    id, topic, projection, generation, reason, error, event_id, aggregate_id, event_version, position, message_id,
    payload, attributes, attempts, first_parked_at, last_parked_at, operation_id
)
select
    id, topic, projection, generation, reason, error, event_id, aggregate_id, event_version, position, message_id,
    payload, attributes, attempts, first_parked_at, last_parked_at, operation_id
from gone
