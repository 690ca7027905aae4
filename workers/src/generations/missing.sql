-- Binds: projection, the live generation, the one that is folded.
-- Locks: none.
-- Versions that are in the live rows and not in the fold.
select
    live.aggregate_id,
    coalesce(fold.version, 0) + 1 as "first!",
    live.version as "last!"
from projected_aggregates as live
left join projected_aggregates as fold
    on fold.projection = live.projection
    and fold.generation = $3
    and fold.aggregate_id = live.aggregate_id
where live.projection = $1
and live.generation = $2
and live.version > coalesce(fold.version, 0)
and not coalesce(fold.held, false)
order by live.aggregate_id
