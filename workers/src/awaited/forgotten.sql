-- Binds: topic, most rows.
-- Locks: the rows that go; rows that others hold are passed by.
-- One statement. A time in the future is left from before the clock went back: its event has not been seen since, either.
delete from awaited_events as awaited
using (
    select event_id
    from awaited_events
    where topic = $1
    and (seen_at < clock_timestamp() - interval '1 day' or seen_at > clock_timestamp() + interval '1 day')
    limit $2
    for update skip locked
) as old
where awaited.topic = $1
and awaited.event_id = old.event_id
