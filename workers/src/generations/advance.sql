-- Binds: projection, generation, part, position, events gone through, positions a second, the head.
-- Locks: the part, which is locked already.
update generation_parts
set
    position = $4,
    events = events + $5,
    chunks = chunks + 1,
    rates = (array[$6::real] || rates)[:30],
    head = greatest(head, $7),
    advanced_at = clock_timestamp()
where projection = $1
and generation = $2
and part = $3
