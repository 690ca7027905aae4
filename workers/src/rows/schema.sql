-- Binds: projection, generation; null: the one that is read.
-- Locks: none.
select generation.generation, generation.version, generation.schema_name
from projections as live
join generations as generation
    on generation.projection = live.name and generation.generation = coalesce($2::int, live.generation)
where live.name = $1
and generation.retired_at is null
