-- Binds: projection, topic, most of each that is counted.
-- Locks: none.
-- One statement, because the counts must be of one generation and of the same moment. Each count ends at the most: what
-- waits for a person, or for a worker that is dead, may be millions. The order is that of the one index that leads to these
-- letters and no others. An aggregate that is held has one letter, at its front.
select
    live.generation,
    live.version,
    coalesce(live.paused_until > clock_timestamp(), false) as "paused!",
    live.pause_reason,
    live.paused_by,
    live.paused_at,
    nullif(live.paused_until, 'infinity') as until,
    progress.settled_position,
    progress.releases,
    progress.swept_at as "swept_at?",
    extract(epoch from clock_timestamp() - progress.swept_at)::float8 as silence,
    least(held.aggregates + (
        select count(*) from (
            select from parked_events as parked
            where parked.projection is null and parked.topic = $2
            order by parked.first_parked_at
            limit $3
        ) as counted
    ), $3) as "parked!",
    failing.failure as "failure?",
    failing.failing_since as "failing_since?",
    extract(epoch from clock_timestamp() - failing.failed_at)::float8 as failed_ago,
    coalesce(extract(epoch from clock_timestamp() - least((
        select parked.first_parked_at from parked_events as parked
        where parked.projection = live.name and parked.generation = live.generation and parked.topic = $2
        order by parked.first_parked_at
        limit 1
    ), (
        select parked.first_parked_at from parked_events as parked
        where parked.projection is null and parked.topic = $2
        order by parked.first_parked_at
        limit 1
    ))), 0)::float8 as "parked_oldest!",
    held.aggregates as "held!",
    (
        select count(*) from (
            select from processed_event_ids as processed
            where processed.projection = live.name and processed.generation = live.generation
            and processed.position > progress.settled_position
            limit $3
        ) as counted
    ) as "ids!"
from projections as live
join projection_progress as progress
    on progress.projection = live.name and progress.generation = live.generation
cross join lateral (
    select count(*) as aggregates from (
        select from parked_events as parked
        where parked.projection = live.name and parked.generation = live.generation and parked.topic = $2
        order by parked.first_parked_at
        limit $3
    ) as counted
) as held
left join keepers as failing
    on failing.projection = live.name
    and failing.version = live.version
    and failing.seen_at between clock_timestamp() - interval '15 s' and clock_timestamp()
    and failing.failed_at between clock_timestamp() - interval '60 s' and clock_timestamp()
where live.name = $1
and progress.topic = $2
