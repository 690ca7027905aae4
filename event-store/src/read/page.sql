-- Binds: position before the window, last position of the window, aggregate types, event types, aggregate ids; the bytes that an answer may have, the
-- bytes that an event may have; how many shares the aggregates have, and which of them is wanted.
-- Locks: none.
-- One statement for filtered and unfiltered reading: an empty list wants all. What fits: see budget.rs.
with found as (
    select
        *,
        sum(coalesce(data_bytes, pg_column_size(event_data) + pg_column_size(metadata)))
            over (order by position rows unbounded preceding) as stored_so_far
    from events
    where position > $1
    and position <= $2
    and (cardinality($3::text[]) = 0 or aggregate_type = any($3))
    and (cardinality($4::text[]) = 0 or event_type = any($4))
    and (cardinality($5::uuid[]) = 0 or aggregate_id = any($5))
    and ($8::integer = 1 or mod(uuid_hash_extended(aggregate_id, 0) & 9223372036854775807, $8::bigint) = $9::integer)
),
sized as (
    select
        *,
        case
            when data_bytes is not null then data_bytes
            when stored_so_far - pg_column_size(event_data) - pg_column_size(metadata) < $6
                then event_bytes(position, event_data, metadata)
        end as bytes
    from found
    offset 0
),
charged as (
    select
        *,
        sum(case when bytes <= $7 then bytes end) over (order by position rows unbounded preceding) as bytes_so_far
    from sized
)
select
    position as "position!",
    event_id as "event_id!",
    aggregate_id as "aggregate_id!",
    aggregate_type as "aggregate_type!",
    event_type as "event_type!",
    event_version as "event_version!",
    case when bytes <= $7 and (bytes_so_far <= $6 or bytes_so_far = bytes) then event_data end as "event_data?: _",
    case when bytes <= $7 and (bytes_so_far <= $6 or bytes_so_far = bytes) then metadata end as "metadata?: _",
    occurred_at as "occurred_at!",
    created_at as "created_at!",
    bytes
from charged
order by position
