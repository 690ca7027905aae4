-- Binds: topic, holder, seconds of a lease; the holder and the end of a lease that nobody has renewed for as long as it
-- lasts, by this process's own clock (nulls: none).
-- Locks: the topic's row of relay_cursors.
-- One statement, so that of two relays one has it. A lease is over when the database's clock says so, or when it was
-- watched for its whole length: the database's clock may have gone back.
insert into relay_cursors as cursor (topic, lease_holder, leased_until)
values ($1, $2, clock_timestamp() + make_interval(secs => $3))
on conflict (topic) do update
set lease_holder = excluded.lease_holder, leased_until = excluded.leased_until
where cursor.lease_holder = excluded.lease_holder
or cursor.lease_holder is null
or cursor.leased_until < clock_timestamp()
or (cursor.lease_holder = $4 and cursor.leased_until = $5)
returning
    cursor.position,
    cursor.ctid::text as "place!"
