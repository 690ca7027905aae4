-- Binds: projection, generation; ids, versions and held of aggregates that have a row; the same of those that have
-- none; ids and positions of the events applied; their topic; the same to remember, null if it is the only one.
-- Locks: the aggregates' rows, which are locked already if they exist. Returns how many rows were to be inserted and were
-- not: any means that another worker was first with an aggregate, and the batch must be judged anew.
-- One statement, because ids and versions say the same thing and must never disagree. What is settled already needs no id,
-- and nobody would forget it: what was held has positions below the settled one, and a redrive locks that.
with applied as (
    select applied.event_id, applied.position
    from unnest($9::uuid[], $10::bigint[]) as applied (event_id, position)
    where applied.position > coalesce(
        (select settled_position from projection_progress where projection = $1 and generation = $2 and topic = $11), 0
    )
),
ids as (
    insert into processed_event_ids (projection, generation, event_id, position, topic)
    select $1, $2, applied.event_id, applied.position, $12
    from applied
    on conflict do nothing
    returning 1
),
-- An upsert although the rows are there: it goes straight to each by the key, whatever the planner thinks of the table.
updated as (
    insert into projected_aggregates (projection, generation, aggregate_id, version, held)
    select $1, $2, changed.aggregate_id, changed.version, changed.held
    from unnest($3::uuid[], $4::integer[], $5::boolean[]) as changed (aggregate_id, version, held)
    on conflict (projection, generation, aggregate_id) do update
    set version = excluded.version, held = excluded.held
),
inserted as (
    insert into projected_aggregates (projection, generation, aggregate_id, version, held)
    select $1, $2, fresh.aggregate_id, fresh.version, fresh.held
    from unnest($6::uuid[], $7::integer[], $8::boolean[]) as fresh (aggregate_id, version, held)
    order by fresh.aggregate_id
    on conflict do nothing
    returning 1
)
select
    (select count(*) from applied) - (select count(*) from ids)
    + cardinality($6::uuid[]) - (select count(*) from inserted) as "lost!"
