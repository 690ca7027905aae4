-- Binds: a schema, another.
-- Locks: none.
-- Each schema has a column once. Columns that only one of them has, or that have another type or rule in the other.
with shape as (
    select
        class.relname || '.' || attribute.attname as name,
        format_type(attribute.atttypid, attribute.atttypmod) as type_name,
        attribute.attnotnull as is_required
    from pg_class as class
    join pg_attribute as attribute
        on attribute.attrelid = class.oid
        and attribute.attnum > 0
        and not attribute.attisdropped
    where class.relnamespace in (to_regnamespace(quote_ident($1)), to_regnamespace(quote_ident($2)))
    and class.relkind in ('r', 'p')
)
select coalesce(string_agg(differing.name, ', ' order by differing.name), '') as "names!"
from (
    select shape.name
    from shape
    group by shape.name
    having count(*) < 2 or count(distinct (shape.type_name, shape.is_required)) > 1
) as differing
