-- Binds: projection, most rows.
-- Locks: none.
-- One statement, so that positions and head are of one moment: the head is read last and is never behind a position. The
-- rate of the store is that of its latest events.
with store as (
    select
        coalesce(max(position), 0) as head
    from events
),
pace as (
    select
        store.head,
        coalesce((
            select (store.head - early.position)
                / greatest(extract(epoch from clock_timestamp() - early.created_at), 0.001)
            from events as early
            where early.position = greatest(store.head - 5000, 1)
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
        select
            coalesce(avg(rate), 0)::float8 as rate,
            coalesce(percentile_cont(0.1) within group (order by rate), 0)::float8 as slow,
            coalesce(percentile_cont(0.9) within group (order by rate), 0)::float8 as fast
        from unnest(part.rates) as chunk (rate)
    ) as chunk
    where part.projection = generation.projection
    and part.generation = generation.generation
) as part on true
where generation.projection = $1
and generation.purpose in ('rebuild', 'as_of')
order by generation.generation desc
limit $2
