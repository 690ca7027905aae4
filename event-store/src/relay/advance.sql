-- Binds: topic, holder, new position, the position from which on everything up to the new one is confirmed, the head as it
-- was read with its event, seconds of a lease, the place of the row as last seen (null: unknown).
-- Locks: the topic's row of relay_cursors.
-- By its place, because beside a snapshot that is held open elsewhere the dead versions of the row pile up, and a look-up by
-- the key goes through all of them. Whoever has the lease: what is confirmed is confirmed. Two conditions make it true: the
-- cursor has come at least to where this relay began, and the history is still the one that it read, event by event.
update relay_cursors
set
    position = $3,
    moved_at = clock_timestamp(),
    leased_until = case
        when lease_holder = $2 then clock_timestamp() + make_interval(secs => $7)
        else leased_until
    end
where ctid = coalesce($8::text::tid, (select row.ctid from relay_cursors as row where row.topic = $1))
and topic = $1
and position >= $4
and position < $3
and exists (select from events as newest where newest.position = $5 and newest.event_id = $6)
returning
    lease_holder is not distinct from $2 as "ours!",
    ctid::text as "place!"
