-- Binds: a time, most rows.
-- Locks: the rows that go. Whoever prunes at the same time takes others.
-- One statement, so that what was found to be old and needed by nobody is what goes: a letter, parked or discarded, says which
-- operation decided about it, and a generation which made it. One that gets such a letter meanwhile is not over, and so it is not here.
delete from operations
where id = any (array(
    select old.id
    from operations as old
    where old.finished_at < $1
    and old.state not in ('pending', 'running')
    and not exists (select from parked_events as letter where letter.operation_id = old.id and letter.decision is not null)
    and not exists (select from discarded_events as gone where gone.operation_id = old.id)
    and not exists (select from generations as built where built.operation_id = old.id)
    order by old.finished_at
    limit $2
    for update skip locked
))
