-- Binds: projection; the generation, or null for the newest that could be meant; whether the one is meant that was live
-- before.
-- Locks: none.
select
    generation.generation,
    generation.version,
    case generation.purpose when 'as_of' then generation.upto end as as_of,
    generation.live_since is not null as "live!",
    generation.retired_at is not null as "retired!",
    generation.built_at is not null as "built!",
    generation.replaced_at is not null as "was_live!",
    coalesce(generation.kept_until <= clock_timestamp(), false) as "left!",
    live.generation as live_generation,
    live.schema_name as live_schema,
    (
        select min(part.pace)
        from generation_parts as part
        where part.projection = generation.projection
        and part.generation = generation.generation
        and part.pace like 'failing: %'
    ) as "failing?",
    last_exchange.actor as "rolled_back_by?",
    extract(epoch from clock_timestamp() - last_exchange.finished_at)::float8 as "rolled_back_ago?",
    exists (
        select
        from keepers as keeper
        where keeper.projection = generation.projection
        and keeper.version = generation.version
        and keeper.seen_at > clock_timestamp() - interval '30 s'
    ) as "kept!",
    (
        (select coalesce(max(position), 0) from events) - coalesce((
            select min(part.position)
            from generation_parts as part
            where part.projection = generation.projection
            and part.generation = generation.generation
        ), 0)
    ) as "behind!",
    (
        select count(*)
        from (
            select
            from parked_events as parked
            join projected_aggregates as applied
                on applied.projection = parked.projection
                and applied.generation = live.generation
                and applied.aggregate_id = parked.aggregate_id
            where parked.projection = generation.projection
            and parked.generation = generation.generation
            and parked.event_version <= applied.version
            limit 10000
        ) as counted
    ) as "lost!"
from projections as live
join generations as generation on generation.projection = live.name
left join lateral (
    select
        operation.kind,
        operation.actor,
        operation.finished_at
    from operations as operation
    where operation.projection = live.name
    and operation.kind in ('promote', 'rollback')
    and operation.state = 'succeeded'
    order by operation.finished_at desc
    limit 1
) as last_exchange
    on last_exchange.kind = 'rollback'
where live.name = $1
and (generation.purpose = 'rebuild' or generation.purpose = 'as_of' and generation.generation = $2)
and (
    generation.generation = $2
    or $2::integer is null
    and generation.live_since is null
    and generation.retired_at is null
    and (generation.replaced_at is not null) = $3
)
order by generation.replaced_at desc nulls last, generation.generation desc
limit 1
