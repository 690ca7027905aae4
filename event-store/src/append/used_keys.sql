-- Binds: idempotency keys.
-- Locks: none; called under the head row's lock, or after it, so that no append is half seen.
-- One statement, because key and events of an append were written by one.
select
    used.key,
    used.digest,
    event.event_id,
    event.event_version,
    event.position
from idempotency_keys as used
join events as event
    on event.position >= used.first_position
    and event.position < used.first_position + used.event_count
where used.key = any($1::text[])
order by event.position
