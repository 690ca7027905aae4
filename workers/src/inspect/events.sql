-- Binds: aggregate, version before the page, most rows; whether the traces are wanted, the bytes of stored metadata above which
-- they are not looked for.
-- Locks: none.
-- One statement: a page of one range of the index on (aggregate_id, event_version). Of the data nothing is read.
select
    event.event_version as version,
    event.position,
    event.event_id,
    event.event_type,
    event.aggregate_type,
    event.occurred_at,
    event.created_at as recorded_at,
    case
        when $4::boolean and pg_column_size(event.metadata) <= $5::integer then event.metadata ->> 'traceparent'
    end as traceparent
from events as event
where event.aggregate_id = $1
and event.event_version > $2
order by event.event_version
limit $3
