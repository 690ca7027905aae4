-- Binds: a time, most rows, days of the promise.
-- Locks: the rows that go. Whoever prunes at the same time takes others.
-- One statement, so that what was found to be old is what goes.
delete from idempotency_keys
where key = any (array(
    select old.key
    from idempotency_keys as old
    where old.created_at < least($1, clock_timestamp() - make_interval(days => $3))
    order by old.created_at
    limit $2
    for update skip locked
))
