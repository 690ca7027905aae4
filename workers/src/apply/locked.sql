-- Binds: projection, generation, aggregate ids.
-- Locks: the rows of these aggregates, in order of id, to the end of the transaction.
-- One statement for the batch. An aggregate without a row has nothing applied; whoever inserts its row first wins.
select aggregate_id, version, held
from projected_aggregates
where projection = $1
and generation = $2
and aggregate_id = any($3::uuid[])
order by aggregate_id
for update
