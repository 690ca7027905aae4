-- Binds: projections.
-- Locks: none.
-- One statement, so that a verification and the generation that it was of are of one moment: what was found in another generation
-- says nothing of this one, and what was found in one that has been put back is as true as before. Of those that do not say which
-- one it was, those count that have begun since it is live.
select
    live.name as "name!",
    coalesce(extract(epoch from clock_timestamp() - ready.since), 0)::float8 as "ready_seconds!",
    coalesce(verified.differences, 0)::bigint as "differences!",
    verified.finished_at as "verified_at?"
from projections as live
join generations as generation
    on generation.projection = live.name
    and generation.live_since is not null
left join lateral (
    select min(built.built_at) as since
    from generations as built
    where built.projection = live.name
    and built.purpose = 'rebuild'
    and built.built_at is not null
    and built.live_since is null
    and built.replaced_at is null
    and built.retired_at is null
) as ready on true
left join lateral (
    select
        coalesce((last.result ->> 'ledger_differences')::bigint, 0)
        + coalesce((
            select sum((compared.value ->> 'differences')::bigint)
            from jsonb_array_elements(last.result -> 'tables') as compared
        ), 0) as differences,
        last.finished_at
    from (
        select operation.result, operation.finished_at
        from operations as operation
        where operation.projection = live.name
        and operation.kind = 'verify'
        and operation.finished_at is not null
        and operation.result is not null
        and case
            when operation.result ? 'generation' then (operation.result ->> 'generation')::integer = live.generation
            else operation.started_at >= generation.live_since
        end
        order by operation.finished_at desc
        limit 1
    ) as last
) as verified on true
where live.name = any($1::text[])
