-- Binds: projection, generation, aggregate ids in their order.
-- Locks: the rows of these aggregates, in order of id, to the end of the transaction.
-- One statement for the batch, one step in the key for each id: with `any` and an order by id, a plan from when the table was
-- small goes through all aggregates of the generation, and compares each with each id. An aggregate without a row has nothing
-- applied; whoever inserts its row first wins.
select known.aggregate_id, known.version, known.held
from unnest($3::uuid[]) as wanted (aggregate_id)
cross join lateral (
    select aggregate_id, version, held
    from projected_aggregates
    where projection = $1
    and generation = $2
    and aggregate_id = wanted.aggregate_id
    for update
) as known
