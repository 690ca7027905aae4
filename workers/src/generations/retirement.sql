-- Binds: projection, generation.
-- Locks: none.
select
    generation.schema_name,
    generation.live_since is not null as "live!",
    generation.retired_at is not null as "retired!",
    coalesce(generation.kept_until > clock_timestamp(), false) as "kept!",
    live.generation as live_generation,
    coalesce((
        select sum(pg_total_relation_size(class.oid))
        from pg_class as class
        join pg_namespace as namespace on namespace.oid = class.relnamespace
        where namespace.nspname = generation.schema_name
        and class.relkind in ('r', 'p')
    ), 0)::bigint as "bytes!"
from generations as generation
join projections as live on live.name = generation.projection
where generation.projection = $1
and generation.generation = $2
