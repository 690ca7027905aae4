-- Binds: projection, version of this code.
-- Locks: none.
-- The rebuild that was asked for last, and of each part whether it has everything that was in the store when it began.
select
    operation.id,
    operation.state as "state: State",
    operation.error,
    operation.generation,
    coalesce(generation.built_at is not null, false) as "built!",
    coalesce(part.numbers, '{}') as "numbers!",
    coalesce(part.have_all, '{}') as "have_all!"
from operations as operation
left join generations as generation
    on generation.projection = operation.projection and generation.generation = operation.generation
left join lateral (
    select
        array_agg(part.part order by part.part) as numbers,
        array_agg(part.position >= operation.upto order by part.part) as have_all
    from generation_parts as part
    where part.projection = operation.projection
    and part.generation = operation.generation
) as part on true
where operation.kind = 'rebuild'
and operation.projection = $1
and (operation.selection ->> 'version')::integer = $2
order by operation.created_at desc
limit 1
