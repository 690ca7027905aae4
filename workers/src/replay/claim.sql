-- Binds: runner, projections it can run, seconds of silence after which a running operation is taken over.
-- Locks: the row that is claimed; rows that others are claiming are passed by.
-- One statement, because finding and taking must not be two. Whoever was served least recently is next. A sign of life in
-- the future is from before the clock went back. What is to be applied to a projection that is paused waits, and so does
-- everything while operations are stopped.
update operations
set
    state = 'running',
    runner = $1,
    started_at = coalesce(started_at, clock_timestamp()),
    heartbeat_at = clock_timestamp()
where id = (
    select id
    from operations
    where kind = 'repair'
    and projection = any($2::text[])
    and (
        state = 'pending'
        or (state = 'running' and heartbeat_at < clock_timestamp() - make_interval(secs => $3))
        or (state = 'running' and heartbeat_at > clock_timestamp() + make_interval(secs => $3))
    )
    and not exists (
        select from projections as paused
        where paused.name = operations.projection and paused.paused_until > clock_timestamp()
    )
    and not exists (select from operations_stop where stopped_until > clock_timestamp())
    order by heartbeat_at nulls first, created_at
    limit 1
    for update skip locked
)
returning
    id,
    projection as "projection!",
    selection as "selection: sqlx::types::Json<Selection>",
    position as "position!",
    upto as "upto!",
    case when coalesce(rate_until, 'infinity') > clock_timestamp() then rate end as rate
