-- Binds: aggregate, projections, most discarded letters of each.
-- Locks: none.
-- One statement, because version, hold and dead letter are of the same moment. An aggregate that is held has one letter, at its
-- front. All of it is reached by key.
select
    wanted.name as "projection!",
    coalesce(applied.version, 0) as "applied_version!",
    coalesce(applied.held, false) as "held!",
    next.event_version as "next_version?",
    next.event_type as "next_type?",
    next.position as "next_position?",
    coalesce(live.paused_until > clock_timestamp(), false) as "paused!",
    live.pause_reason as "pause_reason?",
    live.paused_by as "paused_by?",
    live.paused_at as "paused_at?",
    nullif(live.paused_until, 'infinity') as until,
    letter.id as "letter_id?",
    letter.event_version as letter_version,
    letter.reason as "letter_reason?",
    letter.error as "letter_error?",
    letter.attempts as "letter_attempts?",
    letter.decision as letter_decision,
    coalesce(discarded.letters, '[]') as "discarded!: Json<Vec<Discarded>>"
from unnest($2::text[]) with ordinality as wanted (name, place)
left join projections as live on live.name = wanted.name
left join lateral (
    select known.version, known.held
    from projected_aggregates as known
    where known.projection = live.name
    and known.generation = live.generation
    and known.aggregate_id = $1
    limit 1
) as applied on true
left join lateral (
    select event.event_version, event.event_type, event.position
    from events as event
    where event.aggregate_id = $1
    and event.event_version > coalesce(applied.version, 0)
    order by event.event_version
    limit 1
) as next on true
left join lateral (
    select parked.id, parked.event_version, parked.reason, parked.error, parked.attempts, parked.decision
    from parked_events as parked
    where parked.projection = live.name
    and parked.generation = live.generation
    and parked.aggregate_id = $1
    limit 1
) as letter on true
left join lateral (
    select jsonb_agg(
        jsonb_build_object(
            'id', gone.id,
            'version', gone.event_version,
            'reason', gone.reason,
            'error', gone.error,
            'operation_id', gone.operation_id,
            'discarded_at', gone.discarded_at
        ) order by gone.event_version
    ) as letters
    from (
        -- What is built anew goes on without what was discarded before.
        select distinct on (discarded_events.event_version)
            discarded_events.id,
            discarded_events.event_version,
            discarded_events.reason,
            discarded_events.error,
            discarded_events.operation_id,
            discarded_events.discarded_at
        from discarded_events
        where discarded_events.aggregate_id = $1
        and discarded_events.projection = live.name
        and discarded_events.generation <= live.generation
        order by discarded_events.event_version, discarded_events.generation desc
        limit $3
    ) as gone
) as discarded on true
order by wanted.place
