-- Binds: projections, and the version of this code of each.
-- Locks: none.
-- Generations that this code keeps, part by part: neither live nor retired, and with the way back still open if they were
-- live before.
select
    generation.projection,
    generation.generation,
    part.part,
    part.parts
from unnest($1::text[], $2::integer[]) as ours (projection, version)
join generations as generation on generation.projection = ours.projection and generation.version = ours.version
join generation_parts as part
    on part.projection = generation.projection and part.generation = generation.generation
where generation.live_since is null
and (generation.purpose = 'rebuild' or generation.built_at is null)
and generation.retired_at is null
and (generation.kept_until is null or generation.kept_until > clock_timestamp())
order by generation.projection, generation.generation, part.part
