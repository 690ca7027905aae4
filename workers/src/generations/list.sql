-- Binds: projection, most rows.
-- Locks: none.
-- One statement, so that positions and head are of one moment: the head is read last and is never behind a position. The
-- rate of the store is that of its latest events: of as few as were appended within half a minute, and of 5000 at most.
with store as (
    select
        coalesce(max(position), 0) as head
    from events
),
pace as (
    select
        store.head,
        coalesce((
            select (store.head - early.position) / greatest(early.age, 0.001)
            from (values (0), (5), (50), (500), (5000)) as before (events)
            cross join lateral (
                select position, extract(epoch from clock_timestamp() - created_at) as age
                from events
                where position = greatest(store.head - before.events, 1)
            ) as early
            order by early.age >= 30 desc, case when early.age >= 30 then before.events else -before.events end
            limit 1
        ), 0)::float8 as append_rate
    from store
)
select
    generation.generation,
    generation.version,
    generation.schema_name,
    case
        when generation.retired_at is not null then 'retired'
        when generation.live_since is not null then 'live'
        when generation.purpose = 'as_of' and generation.built_at is not null then 'as_of'
        when generation.replaced_at is not null and generation.kept_until > clock_timestamp() then 'previous'
        when generation.replaced_at is not null then 'left'
        when operation.state in ('failed', 'cancelled') then 'abandoned'
        when generation.built_at is not null then 'ready'
        else 'building'
    end as "standing!: Standing",
    generation.operation_id,
    case generation.purpose when 'as_of' then generation.upto end as as_of,
    generation.created_at,
    generation.live_since,
    generation.replaced_at,
    generation.kept_until,
    part.positions,
    part.events::bigint as events,
    part.rates,
    part.slow_rates,
    part.fast_rates,
    part.pace,
    case
        when generation.built_at is null and coalesce(operation.rate_until, 'infinity') > clock_timestamp() then operation.rate
    end as rate,
    pace.head as "head!",
    pace.append_rate as "append_rate!",
    (
        select count(*) from (
            select from parked_events as parked
            where parked.projection = generation.projection and parked.generation = generation.generation
            order by parked.id
            limit 10000
        ) as counted
    ) as "parked!"
from generations as generation
cross join pace
left join operations as operation on operation.id = generation.operation_id
left join lateral (
    select
        array_agg(position order by part.part) as positions,
        sum(events) as events,
        array_agg(chunk.rate order by part.part) as rates,
        array_agg(chunk.slow order by part.part) as slow_rates,
        array_agg(chunk.fast order by part.part) as fast_rates,
        array_agg(distinct part.pace) filter (where part.pace <> '') as pace
    from generation_parts as part
    cross join lateral (
        -- All steps together, and the slower and the faster of some that follow each other.
        select
            coalesce(sum(positions) / sum(seconds), 0)::float8 as rate,
            coalesce(percentile_cont(0.1) within group (order by positions / seconds), 0)::float8 as slow,
            coalesce(percentile_cont(0.9) within group (order by positions / seconds), 0)::float8 as fast
        from (
            select sum(positions) as positions, greatest(sum(seconds), 0.001) as seconds
            from (
                select positions, seconds, ntile(6) over (order by number) as block
                from (
                    select positions, seconds, number
                    from unnest(part.step_positions, part.step_seconds)
                        with ordinality as step (positions, seconds, number)
                    union all
                    -- One that is not done yet counts as soon as it takes long, unless a person has stopped it.
                    select 0, extract(epoch from clock_timestamp() - part.advanced_at), 0
                    where part.advanced_at < clock_timestamp() - interval '2 s'
                    and part.position < part.head
                    and generation.built_at is null
                    and operation.state = 'running'
                    and not exists (select from operations_stop where stopped_until > clock_timestamp())
                ) as step
            ) as numbered
            group by block
        ) as block
    ) as chunk
    where part.projection = generation.projection
    and part.generation = generation.generation
) as part on true
where generation.projection = $1
and generation.purpose in ('rebuild', 'as_of')
order by generation.generation desc
limit $2
