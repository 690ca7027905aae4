-- Binds: position before the window, last position of the window, aggregate types, event types, aggregate ids; the bytes that an answer may have, the
-- bytes that an event may have; how many shares the aggregates have, and which of them is wanted.
-- Locks: none.
-- One statement for filtered and unfiltered reading: an empty list wants all. How far it goes is found first, without what the
-- events carry: rows that wait to be added up would be written to disk with it. Nearly always all of the window fits, which
-- one sum says; only else is it found out event by event what fits: see budget.rs.
with summed as (
    select
        min(position) as first,
        max(position) as last,
        coalesce(count(*) = count(data_bytes) and sum(data_bytes) <= $6 and max(data_bytes) <= $7, true) as all_fits
    from events
    where position > $1
    and position <= $2
    and (cardinality($3::text[]) = 0 or aggregate_type = any($3))
    and (cardinality($4::text[]) = 0 or event_type = any($4))
    and (cardinality($5::uuid[]) = 0 or aggregate_id = any($5))
    and ($8::integer = 1 or mod(uuid_hash_extended(aggregate_id, 0) & 9223372036854775807, $8::bigint) = $9::integer)
),
found as (
    select
        position,
        data_bytes,
        case when data_bytes is null then event_data end as event_data,
        case when data_bytes is null then metadata end as metadata,
        sum(coalesce(data_bytes, pg_column_size(event_data) + pg_column_size(metadata)))
            over (order by position rows unbounded preceding) as stored_so_far
    from events
    where not (select all_fits from summed)
    and position > $1
    and position <= $2
    and (cardinality($3::text[]) = 0 or aggregate_type = any($3))
    and (cardinality($4::text[]) = 0 or event_type = any($4))
    and (cardinality($5::uuid[]) = 0 or aggregate_id = any($5))
    and ($8::integer = 1 or mod(uuid_hash_extended(aggregate_id, 0) & 9223372036854775807, $8::bigint) = $9::integer)
),
sized as (
    select
        position,
        case
            when data_bytes is not null then data_bytes
            when stored_so_far - pg_column_size(event_data) - pg_column_size(metadata) < $6
                then event_bytes(position, event_data, metadata)
        end as bytes
    from found
    order by position
),
charged as (
    select
        position,
        bytes,
        sum(case when bytes <= $7 then bytes end) over (order by position rows unbounded preceding) as bytes_so_far
    from sized
),
extent as (
    select first, last, null::bigint as first_that_does_not_fit
    from summed
    where all_fits
    union all
    select
        min(position),
        coalesce(min(position) filter (where not fits), max(position)),
        min(position) filter (where not fits)
    from (
        select
            position,
            bytes is not null and (bytes > $7 or bytes_so_far <= $6 or bytes_so_far = bytes) as fits
        from charged
    ) as judged
    having count(*) > 0
),
page as (
    select
        *,
        case
            when position = (select first_that_does_not_fit from extent) then null
            when data_bytes is not null then data_bytes
            else event_bytes(position, event_data, metadata)
        end as bytes
    from events
    where position >= (select first from extent)
    and position <= (select last from extent)
    and (cardinality($3::text[]) = 0 or aggregate_type = any($3))
    and (cardinality($4::text[]) = 0 or event_type = any($4))
    and (cardinality($5::uuid[]) = 0 or aggregate_id = any($5))
    and ($8::integer = 1 or mod(uuid_hash_extended(aggregate_id, 0) & 9223372036854775807, $8::bigint) = $9::integer)
    order by position
)
select
    position as "position!",
    event_id as "event_id!",
    aggregate_id as "aggregate_id!",
    aggregate_type as "aggregate_type!",
    event_type as "event_type!",
    event_version as "event_version!",
    case when bytes <= $7 then event_data end as "event_data?: _",
    case when bytes <= $7 then metadata end as "metadata?: _",
    occurred_at as "occurred_at!",
    created_at as "created_at!",
    bytes
from page
order by position
