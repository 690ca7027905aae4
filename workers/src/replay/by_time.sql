-- Binds: projection, position before the first wanted, last position, aggregate types, event types, aggregate ids, times
-- from and to, most events.
-- Locks: none.
-- One statement for counting and for reading. It goes through the events of that time by the index on `occurred_at`, and
-- sees no others; `offset 0` keeps it so.
select
    selected.event_id,
    selected.position,
    selected.event_version > coalesce(aggregate.version, 0) and not coalesce(aggregate.held, false) as "unsettled!"
from (
    select event.event_id, event.position, event.aggregate_id, event.event_version
    from (
        select event_id, position, aggregate_id, event_version, aggregate_type, event_type
        from events
        where occurred_at >= coalesce($7::timestamptz, '-infinity')
        and occurred_at < coalesce($8::timestamptz, 'infinity')
        offset 0
    ) as event
    where event.position > $2
    and event.position <= $3
    and event.aggregate_type = any($4::text[])
    and (cardinality($5::text[]) = 0 or event.event_type = any($5))
    and (cardinality($6::uuid[]) = 0 or event.aggregate_id = any($6))
    order by event.position
    limit $9
) as selected
join projections as live on live.name = $1
left join lateral (
    select known.version, known.held
    from projected_aggregates as known
    where known.projection = live.name
    and known.generation = live.generation
    and known.aggregate_id = selected.aggregate_id
    limit 1
) as aggregate on true
order by selected.position
