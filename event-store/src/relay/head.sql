-- Binds: the position and the event id of the head as it was read before (0: not yet).
-- Locks: none.
-- One statement, so that head and history are of one server and one moment.
select
    head.position,
    newest.event_id as "event_id?",
    ($1 = 0::bigint or exists (select from events as known where known.position = $1 and known.event_id = $2)) as "same!"
from event_store_head as head
left join events as newest on newest.position = head.position
