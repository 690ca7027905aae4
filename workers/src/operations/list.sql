-- Binds: the id of the one operation wanted, or null for all; most rows.
-- Locks: none.
-- One statement for one and for many, so that both show the same columns.
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
where $1::uuid is null or id = $1
order by created_at desc
limit $2
