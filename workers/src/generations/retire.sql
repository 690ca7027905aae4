-- Binds: projection.
-- Locks: none.
-- What is to be dropped: what somebody asked to retire, and what a rebuild has left that was cancelled or has failed. And what
-- was dropped and is still remembered. A fold that was compared is of no use any more.
select
    generation.generation,
    generation.retired_at is not null as "retired!",
    asked.id as "operation?"
from generations as generation
left join operations as asked
    on asked.projection = generation.projection
    and asked.kind = 'retire'
    and asked.state = 'pending'
    and asked.generation = generation.generation
left join operations as built on built.id = generation.operation_id
where generation.projection = $1
and generation.forgotten_at is null
and (
    generation.retired_at is not null
    or asked.id is not null
    or generation.live_since is null and built.state in ('cancelled', 'failed')
    or generation.purpose = 'verify' and generation.built_at is not null
)
order by generation.generation
limit 10
