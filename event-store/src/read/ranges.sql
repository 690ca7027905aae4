-- Binds: aggregate ids, their first versions, their last versions; the bytes that an answer may have, the
-- bytes that an event may have.
-- Locks: none.
-- One statement for all aggregates of a batch: a range of the index on (aggregate_id, event_version) for each. What fits:
-- see budget.rs.
with found as (
    select
        *,
        sum(coalesce(data_bytes, pg_column_size(event_data) + pg_column_size(metadata)))
            over (order by aggregate_id, event_version rows unbounded preceding) as stored_so_far
    from (
        select event.*
        from unnest($1::uuid[], $2::integer[], $3::integer[]) as wanted (aggregate_id, first_version, last_version)
        join events as event
            on event.aggregate_id = wanted.aggregate_id
            and event.event_version between wanted.first_version and wanted.last_version
    ) as wanted
),
sized as (
    select
        *,
        case
            when data_bytes is not null then data_bytes
            when stored_so_far - pg_column_size(event_data) - pg_column_size(metadata) < $4
                then event_bytes(position, event_data, metadata)
        end as bytes
    from found
    offset 0
),
charged as (
    select
        *,
        sum(case when bytes <= $5 then bytes end) over (order by aggregate_id, event_version rows unbounded preceding) as bytes_so_far
    from sized
)
select
    position as "position!",
    event_id as "event_id!",
    aggregate_id as "aggregate_id!",
    aggregate_type as "aggregate_type!",
    event_type as "event_type!",
    event_version as "event_version!",
    case when bytes <= $5 and (bytes_so_far <= $4 or bytes_so_far = bytes) then event_data end as "event_data?: _",
    case when bytes <= $5 and (bytes_so_far <= $4 or bytes_so_far = bytes) then metadata end as "metadata?: _",
    occurred_at as "occurred_at!",
    created_at as "created_at!",
    bytes
from charged
order by aggregate_id, event_version
