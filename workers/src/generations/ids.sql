-- Binds: projection, a generation that is not live, most rows.
-- Locks: the rows that go.
delete from processed_event_ids
where ctid = any(array(
    select ctid from processed_event_ids where projection = $1 and generation = $2 order by position limit $3
))
