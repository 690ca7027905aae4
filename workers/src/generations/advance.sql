-- Binds: projection, generation, part, position, events gone through, seconds since the last step, the head, whether the steps before
-- say nothing of those to come.
-- Locks: the part, which is locked already.
update generation_parts
set
    position = $4,
    events = events + $5,
    chunks = chunks + 1,
    step_positions = (array[($4 - position)::real] || case when $8 then '{}' else step_positions end)[:120],
    step_seconds = (array[$6::real] || case when $8 then '{}' else step_seconds end)[:120],
    head = greatest(head, $7),
    advanced_at = clock_timestamp()
where projection = $1
and generation = $2
and part = $3
