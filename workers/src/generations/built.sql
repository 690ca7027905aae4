-- Binds: projection, generation.
-- Locks: the generation: nobody builds a part of it meanwhile. No row: it is built already, another is at it, or a part has
-- not everything that was in the store when the building began.
select
    generation.operation_id,
    generation.schema_name,
    generation.purpose = 'as_of' as "as_of!",
    array(
        select quote_ident(class.relname)
        from pg_class as class
        join pg_namespace as namespace on namespace.oid = class.relnamespace
        where namespace.nspname = generation.schema_name
        and class.relkind in ('r', 'p')
        order by class.relname
    ) as "tables!",
    set_config('search_path', quote_ident(generation.schema_name) || ', public', true) as "search_path!"
from generations as generation
where generation.projection = $1
and generation.generation = $2
and generation.built_at is null
and generation.retired_at is null
and not exists (
    select
    from generation_parts as part
    where part.projection = generation.projection
    and part.generation = generation.generation
    and part.position < (
        select operation.upto from operations as operation where operation.id = generation.operation_id
    )
)
for update of generation skip locked
