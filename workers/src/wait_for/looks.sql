-- Binds: numbers of those who wait; the projection of each; its aggregate, or null; its topic, or null for all topics.
-- Locks: none.
-- One statement for all who wait, however many they are: each of them costs a few rows by key.
select
    wanted.number as "number!",
    live.generation is not null as "established!",
    coalesce(live.paused_until > clock_timestamp(), false) as "paused!",
    live.pause_reason as "pause_reason?",
    live.paused_by as "paused_by?",
    live.paused_at as "paused_at?",
    nullif(live.paused_until, 'infinity') as until,
    applied.version as "version?",
    applied.held as "held?",
    case when applied.held then (
        select parked.id
        from parked_events as parked
        where parked.projection = live.name
        and parked.generation = live.generation
        and parked.aggregate_id = wanted.aggregate_id
        limit 1
    ) end as letter,
    (
        select min(progress.settled_position)
        from projection_progress as progress
        where progress.projection = live.name
        and progress.generation = live.generation
        and (wanted.topic is null or progress.topic = wanted.topic)
    ) as settled
from unnest($1::integer[], $2::text[], $3::uuid[], $4::text[]) as wanted (number, projection, aggregate_id, topic)
left join projections as live on live.name = wanted.projection
left join lateral (
    select known.version, known.held
    from projected_aggregates as known
    where known.projection = live.name
    and known.generation = live.generation
    and known.aggregate_id = wanted.aggregate_id
    limit 1
) as applied on true
