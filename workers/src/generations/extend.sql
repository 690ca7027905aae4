-- Binds: projection, the generation that is folded to verify, positions that the live one may be ahead.
-- Locks: the generation, if it is to go on.
-- No row: it is not as far as it was to go.
with fold as (
    select
        generation.generation,
        generation.upto,
        generation.operation_id,
        (
            select min(progress.settled_position)
            from projection_progress as progress
            join projections as live on live.name = progress.projection and live.generation = progress.generation
            where live.name = generation.projection
        ) as settled
    from generations as generation
    where generation.projection = $1
    and generation.generation = $2
    and generation.built_at is null
    and generation.retired_at is null
    and not exists (
        select
        from generation_parts as part
        where part.projection = generation.projection
        and part.generation = generation.generation
        and part.position < generation.upto
    )
),
onwards as (
    update generations
    set upto = fold.settled
    from fold
    where generations.projection = $1
    and generations.generation = $2
    and fold.settled > fold.upto + $3
)
select
    operation_id as "operation_id!",
    settled <= upto + $3 as "close!"
from fold
