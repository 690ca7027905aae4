-- Binds: position; most members of data, and of metadata; most bytes in memory of members whose numbers are looked at; characters
-- of each member's beginning (0: none).
-- Locks: none.
-- One statement, because what it decompresses it decompresses once: `'$'` is the value as it is in memory. Nothing is printed
-- before it is known to be short, and no more numbers are looked at than a second allows. The sum is that of `bytes_when_printed`.
with event as materialized (
    select
        jsonb_path_query_first(event_data, '$') as event_data,
        jsonb_path_query_first(metadata, '$') as metadata
    from events
    where position = $1
),
member as materialized (
    select
        known.part,
        case when jsonb_typeof(known.json) = 'object' then each.key end as name,
        each.value,
        pg_column_size(each.value) as held,
        count(*) over (partition by known.part) as members,
        row_number() over (partition by known.part order by pg_column_size(each.value) desc, each.key) as place
    from event
    cross join lateral (values ('event_data', event.event_data), ('metadata', event.metadata)) as known (part, json)
    cross join lateral jsonb_each(
        case when jsonb_typeof(known.json) = 'object' then known.json else jsonb_build_object('', known.json) end
    ) as each
),
largest as (
    select *, sum(held) over (order by held, part, place) as held_so_far
    from member
    where place <= $2
)
select
    part as "part!",
    left(name, 200) as name,
    jsonb_typeof(value) as "kind!",
    held as "memory_bytes!",
    case when held_so_far <= $3 then (
        select least(held + coalesce(sum(scale(number) + case
            when abs(number) < 1e18 then 20
            when abs(number) < 1e100 then 102
            when abs(number) < 1e310 then 312
            else 131074
        end), 0), 2147483647)
        from (
            select item::numeric as number
            from jsonb_array_elements(jsonb_path_query_array(value, 'strict $.** ? (@.type() == "number")')) as item
            offset 0
        ) as found
    ) end::integer as printed_bytes,
    case when $4::integer > 0 then json_in_part(value, $4, 4) end as beginning,
    members as "members!"
from largest
order by part, place
