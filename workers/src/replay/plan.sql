-- Binds: projection, position before the range, last position, aggregate types, event types, aggregate ids, times from
-- and to.
-- Locks: none.
-- One statement, because both counts must be of the same moment. The range is what is looked at: the caller bounds it. The
-- inner limit: see ../sweep/unsettled.sql.
select
    count(*) as "selected!",
    count(*) filter (
        where event.event_version > coalesce(aggregate.version, 0) and not coalesce(aggregate.held, false)
    ) as "unsettled!"
from events as event
join projections as live on live.name = $1
left join lateral (
    select known.version, known.held
    from projected_aggregates as known
    where known.projection = live.name
    and known.generation = live.generation
    and known.aggregate_id = event.aggregate_id
    limit 1
) as aggregate on true
where event.position > $2
and event.position <= $3
and event.aggregate_type = any($4::text[])
and (cardinality($5::text[]) = 0 or event.event_type = any($5))
and (cardinality($6::uuid[]) = 0 or event.aggregate_id = any($6))
and event.occurred_at >= coalesce($7::timestamptz, '-infinity')
and event.occurred_at < coalesce($8::timestamptz, 'infinity')
