-- Binds: schema.
-- Locks: none.
-- Rows and pages are what Postgres noted when it last went through a table, or else has counted since it started: to count them now
-- would be to read it, and to ask for its size would wait for who has locked it.
select
    class.relname as "name!",
    class.relkind in ('v', 'm') as "view!",
    coalesce(nullif(class.reltuples, -1)::bigint, nullif(pg_stat_get_live_tuples(class.oid), 0)) as rows,
    class.relpages::bigint * current_setting('block_size')::bigint as "bytes!",
    array(
        select attribute.attname::text
        from pg_index as key
        join pg_attribute as attribute on attribute.attrelid = key.indrelid and attribute.attnum = any(key.indkey)
        where key.indrelid = class.oid and key.indisprimary
        order by array_position(key.indkey::smallint[], attribute.attnum)
    ) as "key!",
    columns.names as "names!",
    columns.types as "types!",
    columns.casts as "casts!",
    columns.nullable as "nullable!"
from pg_class as class
cross join lateral (
    select
        coalesce(array_agg(attname::text order by attnum), '{}') as names,
        coalesce(array_agg(format_type(atttypid, atttypmod) order by attnum), '{}') as types,
        -- Without its length, which a cast would cut a value to.
        coalesce(array_agg(format_type(atttypid, -1) order by attnum), '{}') as casts,
        coalesce(array_agg(not attnotnull order by attnum), '{}') as nullable
    from pg_attribute
    where attrelid = class.oid and attnum > 0 and not attisdropped
) as columns
where class.relnamespace = (select oid from pg_namespace where nspname = $1)
and class.relkind in ('r', 'p', 'v', 'm')
order by class.relname
