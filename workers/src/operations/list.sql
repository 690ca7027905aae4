-- Binds: the id of the one operation wanted, or null for all; the id that all are before, or null; most rows.
-- Locks: none.
-- One statement for one and for many, so that both show the same columns. Ids rise with time.
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
    created_at,
    started_at,
    heartbeat_at,
    finished_at
from operations
where ($1::uuid is null or id = $1)
and ($2::uuid is null or id < $2)
order by id desc
limit $3
