-- Binds: operations that stand still.
-- Locks: none.
-- The version is that of the code that would go on: the one that was asked for, that of the generation, or the live one. Whoever
-- has been in a transaction for 10 s and has locked something that the workers need is named, the oldest of them; what only
-- reads is in nobody's way, and who waits for a lock as well is not where it ends.
select
    operation.id,
    operation.projection,
    wanted.version as "version?",
    exists (
        select
        from keepers as keeper
        where keeper.projection = operation.projection
        and keeper.version = wanted.version
        and keeper.seen_at > clock_timestamp() - interval '30 s'
    ) as "kept!",
    (
        select string_agg(distinct part.pace, '; ')
        from generation_parts as part
        where part.projection = operation.projection
        and part.generation = operation.generation
        and part.pace <> ''
    ) as pace,
    blocker.said as "blocker?"
from operations as operation
cross join lateral (
    select coalesce(
        (operation.selection ->> 'version')::integer,
        (
            select generation.version
            from generations as generation
            where generation.projection = operation.projection
            and generation.generation = operation.generation
        ),
        (select live.version from projections as live where live.name = operation.projection)
    ) as version
) as wanted
left join lateral (
    select format(
        'a lock on %s is held by pid %s (%s%s), in a transaction since %s',
        locked.relation::regclass,
        session.pid,
        coalesce(nullif(session.application_name, '') || ', ', ''),
        session.state,
        to_char(session.xact_start, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
    ) as said
    from pg_locks as locked
    join pg_stat_activity as session on session.pid = locked.pid
    where locked.locktype = 'relation'
    and locked.granted
    and locked.mode <> 'AccessShareLock'
    and locked.database = (select oid from pg_database where datname = current_database())
    and session.backend_type = 'client backend'
    and session.wait_event_type is distinct from 'Lock'
    and session.xact_start < clock_timestamp() - interval '10 s'
    and (
        locked.relation in (
            'generation_parts'::regclass, 'generations'::regclass, 'operations'::regclass, 'projections'::regclass,
            'projected_aggregates'::regclass, 'parked_events'::regclass
        )
        or locked.relation in (
            select class.oid
            from generations as generation
            join pg_namespace as namespace on namespace.nspname = generation.schema_name
            join pg_class as class on class.relnamespace = namespace.oid
            where generation.projection = operation.projection
            and generation.generation = operation.generation
        )
    )
    order by session.xact_start
    limit 1
) as blocker on true
where operation.id = any($1::uuid[])
