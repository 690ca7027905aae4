-- Binds: topic; ids, aggregates and versions of events, each once; most rows of the topic; seconds that may count between
-- two sightings.
-- Locks: the events' rows, in order of id.
-- One statement, because an event that two workers see at once is first seen once. Where the topic has no room an event
-- gets no row, and no answer: its time has not begun.
insert into awaited_events as awaited (topic, event_id, aggregate_id, event_version)
select $1, seen.event_id, seen.aggregate_id, seen.event_version
from unnest($2::uuid[], $3::uuid[], $4::integer[]) as seen (event_id, aggregate_id, event_version)
where exists (select from awaited_events as known where known.topic = $1 and known.event_id = seen.event_id)
or (select count(*) from (select from awaited_events as taken where taken.topic = $1 limit $5) as room) < $5
order by seen.event_id
on conflict (topic, event_id) do update
set
    waited = awaited.waited
        + least(greatest(clock_timestamp() - awaited.seen_at, interval '0'), make_interval(secs => $6)),
    seen_at = clock_timestamp()
returning event_id, extract(epoch from waited)::float8 as "waited_seconds!"
