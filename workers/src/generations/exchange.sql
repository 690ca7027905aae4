-- Binds: projection, the generation that was live, the one that will be, and the name of its schema from now on; the position
-- up to which it is settled; the topics that it listens to.
-- Locks: the fence, and the generation.
-- One statement, because all of it says which generation is live. The rebuild that made it has come to its end. Whatever a sweep
-- has seen before is out of date.
with new as (
    update generations
    set live_since = clock_timestamp(), replaced_at = null, kept_until = null, schema_name = $4
    where projection = $1
    and generation = $3
    returning generation, version, schema_name, operation_id
),
fence as (
    update projections
    set generation = new.generation, version = new.version, schema_name = new.schema_name
    from new
    where projections.name = $1
),
progress as (
    insert into projection_progress (projection, generation, topic, settled_position, releases)
    select $1, $3, listening.topic, $5, 1
    from unnest($6::text[]) as listening (topic)
    on conflict (projection, generation, topic) do update
    set
        settled_position = greatest(projection_progress.settled_position, excluded.settled_position),
        releases = projection_progress.releases + 1
),
followed as (
    delete from generation_parts
    where projection = $1
    and generation in ($2, $3)
)
update operations
set state = 'succeeded', finished_at = clock_timestamp()
from new
where operations.id = new.operation_id
and operations.state in ('running', 'waiting', 'paused')
