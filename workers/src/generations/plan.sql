-- Binds: projection.
-- Locks: none.
-- One statement, so that a plan is of one moment. The rate is that of the last rebuild that was built to its end, in positions a
-- second.
select
    live.generation,
    live.version,
    live.schema_name,
    (select max(generation) + 1 from generations where projection = live.name) as "next!",
    (select coalesce(max(position), 0) from events) as "head!",
    open.id as "under_way?",
    (open.selection ->> 'version')::integer as "under_way_version?",
    last.rate
from projections as live
left join operations as open
    on open.projection = live.name
    and open.kind = 'rebuild'
    and open.state in ('pending', 'running', 'paused', 'waiting')
left join lateral (
    select (operation.upto / greatest(extract(epoch from built.built_at - built.created_at), 0.001))::float8 as rate
    from generations as built
    join operations as operation on operation.id = built.operation_id
    where built.projection = live.name
    and built.built_at is not null
    and built.purpose = 'rebuild'
    and operation.upto > 0
    order by built.generation desc
    limit 1
) as last on true
where live.name = $1
