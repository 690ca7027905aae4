-- Binds: the ids of the operations wanted, or null for all; the id that all are before, or null; most rows.
-- Locks: none.
-- One statement for one and for many, so that both show the same columns. Ids rise with time. An operation that is open waits for
-- the projections that are paused and of which it has something left to do, and as long as all are stopped. What was held up
-- so can have taken a step since the end of that only. What works on a generation is as far as the last of its parts.
select
    id,
    kind,
    projection,
    generation,
    selection as "selection: _",
    state as "state: _",
    reason,
    actor,
    coalesce(case when state = 'running' then parts.reached end, position) as position,
    upto as last_position,
    selected,
    seen,
    applied,
    parked,
    case when coalesce(rate_until, 'infinity') > clock_timestamp() then rate end as rate,
    case when rate_until > clock_timestamp() then rate_until end as rate_until,
    result as "result: _",
    error,
    case when state in ('pending', 'running') then nullif(concat_ws(
        '; ',
        (
            select format(
                'all operations are stopped by %s %s: %s',
                stop.stopped_by,
                coalesce(
                    'until ' || to_char(nullif(stop.stopped_until, 'infinity'), 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                    'until somebody has them go on'
                ),
                stop.reason
            )
            from operations_stop as stop
            where stop.stopped_until > clock_timestamp()
            and (
                operations.kind in ('repair', 'rebuild', 'verify', 'as_of')
                or operations.kind = 'retry' and operations.selection ? 'plan_token'
            )
        ),
        (
            select string_agg(
                format(
                    'projection %s is paused by %s %s: %s',
                    paused.name,
                    paused.paused_by,
                    coalesce(
                        'until ' || to_char(nullif(paused.paused_until, 'infinity'), 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                        'until it is resumed'
                    ),
                    paused.pause_reason
                ),
                '; ' order by paused.name
            )
            from projections as paused
            where paused.paused_until > clock_timestamp()
            and (
                paused.name = operations.projection
                -- What is built beside the rows that are read, or takes their place, does not wait.
                and operations.kind not in ('rebuild', 'as_of', 'promote', 'rollback', 'retire')
                or exists (
                    select from parked_events as parked
                    where parked.operation_id = operations.id
                    and parked.decision is not null
                    and parked.projection = paused.name
                )
            )
        )
    ), '') end as waits,
    created_at,
    started_at,
    greatest(heartbeat_at, parts.stepped_at) as heartbeat_at,
    finished_at,
    case when state in ('pending', 'running') then greatest(
        created_at,
        started_at,
        advanced_at,
        parts.stepped_at,
        (
            select max(greatest(
                live.resumed_at, case when live.paused_until <= clock_timestamp() then live.paused_until end
            ))
            from projections as live
            where live.name = operations.projection
            or operations.projection is null
        ),
        (
            select greatest(
                stop.ended_at, case when stop.stopped_until <= clock_timestamp() then stop.stopped_until end
            )
            from operations_stop as stop
        )
    ) end as step_at,
    clock_timestamp() as "now!"
from operations
left join lateral (
    select
        min(part.position) as reached,
        max(part.advanced_at) as stepped_at
    from generation_parts as part
    where operations.state in ('pending', 'running')
    and part.projection = operations.projection
    and part.generation = operations.generation
) as parts on true
where ($1::uuid[] is null or id = any($1))
and ($2::uuid is null or id < $2)
order by id desc
limit $3
