-- Binds: a schema, another.
-- Locks: none.
-- Each schema has a column, a constraint or a view once. Those that only one of them has, or that read otherwise in the other. What
-- Postgres prints names a schema, or does not, as the search path has it.
with schemas as (
    select namespace.oid
    from pg_namespace as namespace
    where namespace.nspname in ($1, $2)
),

shape as (
    select
        class.relname || '.' || attribute.attname as name,
        concat_ws(
            ' ',
            format_type(attribute.atttypid, attribute.atttypmod),
            attribute.attnotnull,
            attribute.attidentity,
            attribute.attgenerated,
            pg_get_expr(given.adbin, given.adrelid)
        ) as rule
    from schemas
    join pg_class as class on class.relnamespace = schemas.oid and class.relkind in ('r', 'p')
    join pg_attribute as attribute
        on attribute.attrelid = class.oid
        and attribute.attnum > 0
        and not attribute.attisdropped
    left join pg_attrdef as given on given.adrelid = class.oid and given.adnum = attribute.attnum
    union all
    select
        class.relname || '.' || held.conname,
        pg_get_constraintdef(held.oid)
    from schemas
    join pg_class as class on class.relnamespace = schemas.oid and class.relkind in ('r', 'p')
    join pg_constraint as held on held.conrelid = class.oid and held.contype in ('c', 'f', 'p', 'u', 'x')
    union all
    select
        class.relname,
        pg_get_viewdef(class.oid)
    from schemas
    join pg_class as class on class.relnamespace = schemas.oid and class.relkind in ('v', 'm')
)

select coalesce(string_agg(differing.name, ', ' order by differing.name), '') as "names!"
from (
    select shape.name
    from shape
    group by shape.name
    having
        count(*) < 2
        or count(distinct replace(replace(shape.rule, quote_ident($2) || '.', ''), quote_ident($1) || '.', '')) > 1
) as differing
