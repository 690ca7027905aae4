-- Binds: a time, most rows.
-- Locks: the rows that go. Whoever prunes at the same time takes others.
-- One statement, so that what was found to be old is what goes.
delete from audit_log
where id = any (array(
    select old.id
    from audit_log as old
    where old.at < $1
    order by old.at
    limit $2
    for update skip locked
))
