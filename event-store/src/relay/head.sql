-- Binds: the position and the event id of the head as it was read before (0: not yet).
-- Locks: none.
-- One statement, so that head and history are of one server and one moment. The head is the highest position in the index
-- (docs/adr/0015).
select
    coalesce(newest.position, 0) as "position!",
    newest.event_id as "event_id?",
    ($1 = 0::bigint or exists (select from events as known where known.position = $1 and known.event_id = $2)) as "same!"
from (select) as head
left join lateral (select position, event_id from events order by position desc limit 1) as newest on true
