-- Binds: projection, the live generation, the one that is folded.
-- Locks: none.
-- An aggregate of which nothing is applied may have a row or none.
select
    count(*) filter (where live.version > 0) as "aggregates!",
    coalesce(sum(live.version), 0)::bigint as "events!",
    count(*) filter (where coalesce(live.version, 0) <> coalesce(fold.version, 0)) as "different!"
from (select * from projected_aggregates where projection = $1 and generation = $2) as live
full join (select * from projected_aggregates where projection = $1 and generation = $3) as fold
    on fold.aggregate_id = live.aggregate_id
