-- Binds: projection, generation.
-- Locks: none.
select
    generation.schema_name,
    generation.live_since is not null as "live!",
    generation.retired_at is not null as "retired!",
    coalesce(generation.kept_until > clock_timestamp(), false) as "kept!",
    live.generation as live_generation
from generations as generation
join projections as live on live.name = generation.projection
where generation.projection = $1
and generation.generation = $2
