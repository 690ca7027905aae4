-- Binds: projection, generation, topic, position before the window, last position of it, aggregate types, most examples.
-- Locks: none.
-- One statement, because one snapshot must show the events, how far their aggregates are applied, what holds these, and up to
-- where all of that is promised: nothing above the settled position is looked at. No row says that the generation is not live
-- any more. An aggregate that is held by no letter is held for ever, and so its events are lost as well. The inner limits:
-- see ../sweep/unsettled.sql. Events are looked at by aggregate and carried along as arrays: two results of this statement joined
-- would be each row against each, because nobody can tell the planner how many they have.
with stand as materialized (
    select progress.settled_position
    from projections as live
    join projection_progress as progress on progress.projection = live.name and progress.generation = live.generation
    where live.name = $1
    and live.generation = $2
    and progress.topic = $3
),
wanted as materialized (
    select
        event.aggregate_id,
        array_agg(event.event_version) as versions,
        array_agg(event.position) as positions,
        array_agg(event.event_id) as ids,
        array_agg(event.event_type) as types
    from events as event
    where event.position > $4
    and event.position <= $5
    and event.position <= (select settled_position from stand)
    and event.aggregate_type = any($6::text[])
    group by event.aggregate_id
),
applied as materialized (
    select
        wanted.*,
        coalesce(known.version, 0) as version,
        known.version > 0 and newest.version is null as ahead,
        letter.event_version as parked
    from wanted
    left join lateral (
        select known.version, known.held
        from projected_aggregates as known
        where known.projection = $1
        and known.generation = $2
        and known.aggregate_id = wanted.aggregate_id
        limit 1
    ) as known on true
    left join lateral (
        select event.event_version as version
        from events as event
        where event.aggregate_id = wanted.aggregate_id
        and event.event_version = known.version
        limit 1
    ) as newest on true
    left join lateral (
        select parked.event_version
        from parked_events as parked
        where known.held
        and parked.projection = $1
        and parked.generation = $2
        and parked.aggregate_id = wanted.aggregate_id
        limit 1
    ) as letter on true
),
judged as materialized (
    select
        applied.aggregate_id,
        applied.version as applied_version,
        seen.*,
        case
            when seen.event_version <= applied.version then 'applied'
            when applied.parked is null then 'lost'
            when seen.event_version = applied.parked then 'parked'
            else 'waiting'
        end as verdict
    from applied
    cross join lateral unnest(applied.versions, applied.positions, applied.ids, applied.types)
        as seen (event_version, position, event_id, event_type)
),
counted as (
    select
        count(*) as events,
        count(*) filter (where verdict = 'applied') as applied,
        count(*) filter (where verdict = 'parked') as parked,
        count(*) filter (where verdict = 'waiting') as waiting,
        count(*) filter (where verdict = 'lost') as lost
    from judged
),
discarded as (
    -- What is built anew goes on without what was discarded before.
    select count(distinct gone.event_id) as events
    from generations as before
    join discarded_events as gone
        on gone.projection = before.projection
        and gone.generation = before.generation
    where before.projection = $1
    and before.generation <= $2
    and gone.topic = $3
    and gone.position > $4
    and gone.position <= $5
    and gone.position <= (select settled_position from stand)
)
select
    stand.settled_position,
    counted.events as "events!",
    counted.applied as "applied!",
    discarded.events as "discarded!",
    counted.parked as "parked!",
    counted.waiting as "waiting!",
    counted.lost as "lost!",
    (select count(*) from applied where ahead) as "ahead!",
    example.aggregate_id as "aggregate_id?",
    example.applied_version as "applied_version?",
    example.event_id as "event_id?",
    example.event_type as "event_type?",
    example.event_version as "event_version?",
    example.position as "position?"
from stand
cross join counted
cross join discarded
left join lateral (
    (
        select aggregate_id, applied_version, event_id, event_type, event_version, position
        from judged
        where verdict = 'lost'
        order by position
        limit $7
    )
    union all
    (
        select aggregate_id, version, null, null, null, null
        from applied
        where ahead
        order by aggregate_id
        limit $7
    )
) as example on true
