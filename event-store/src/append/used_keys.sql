-- Binds: idempotency keys.
-- Locks: none. What it finds never changes, so that it is true with or without the head row's lock; that a key is unused
-- is true under the lock only.
-- One statement, because key and events of an append were written by one. `offset 0` keeps the joins in this order: from
-- the keys in hand to their rows, and from each row to its events, whatever the planner thinks of the tables.
select
    used.key,
    used.digest,
    event.event_id,
    event.event_version,
    event.position
from unnest($1::text[]) as wanted (key)
cross join lateral (
    select key, digest, first_position, event_count
    from idempotency_keys
    where key = wanted.key
    offset 0
) as used
cross join lateral (
    select event_id, event_version, position
    from events
    where position >= used.first_position
    and position < used.first_position + used.event_count
    offset 0
) as event
order by event.position
