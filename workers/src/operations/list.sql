-- Binds: the id of the one operation wanted, or null for all; the id that all are before, or null; most rows.
-- Locks: none.
-- One statement for one and for many, so that both show the same columns. Ids rise with time. An operation that is open waits for
-- the projections that are paused and of which it has something left to do.
select
    id,
    kind,
    projection,
    generation,
    selection as "selection: _",
    state as "state: _",
    reason,
    actor,
    position,
    upto as last_position,
    selected,
    seen,
    applied,
    parked,
    rate,
    result as "result: _",
    error,
    case when state in ('pending', 'running') then (
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
            or exists (
                select from parked_events as parked
                where parked.operation_id = operations.id
                and parked.decision is not null
                and parked.projection = paused.name
            )
        )
    ) end as waits,
    created_at,
    started_at,
    heartbeat_at,
    finished_at
from operations
where ($1::uuid is null or id = $1)
and ($2::uuid is null or id < $2)
order by id desc
limit $3
