-- Binds: projection, generation, part, version of this code; position and id of the last event that is about to be applied,
-- null if there is none.
-- Locks: the part, for its transaction, and the generation, so that nobody promotes or retires it meanwhile. Whoever finds
-- one of them locked is told nothing: another builds the part, or the generation is about to change. So is who has read
-- events that the store has lost since.
-- One statement with the search path, as in the fence: a schema's name is never kept. What values look like as text, and which day
-- a time is of, is set too: another read model's write may have set it for the session.
select
    part.position,
    set_config('search_path', quote_ident(generation.schema_name) || ', public', true) as "search_path!",
    set_config('TimeZone', 'UTC', true) || set_config('DateStyle', 'ISO, MDY', true)
    || set_config('IntervalStyle', 'postgres', true) as "values!"
from generation_parts as part
join generations as generation
    on generation.projection = part.projection and generation.generation = part.generation
where part.projection = $1
and part.generation = $2
and part.part = $3
and generation.version = $4
and generation.live_since is null
and generation.retired_at is null
and ($6::uuid is null or exists (select from events where position = $5 and event_id = $6))
for no key update of part skip locked
for share of generation skip locked
