-- Binds: most.
-- Locks: none.
-- Sessions of this database that wait for a lock, the one that has waited longest first, with whoever stands in its way. The
-- schemas are those of all tables that it has locked or wants to: of a row that somebody else has written, Postgres says only by
-- which transaction. Who is in the way is asked once for each session that waits, because the answer stops all locking for a
-- moment. Whoever may not see what others do sees their locks all the same.
select
    waiting.pid as "pid!",
    coalesce(waiting.application_name, '') as "name!",
    coalesce(extract(epoch from clock_timestamp() - asked.waitstart), 0)::float8 as "seconds!",
    case asked.locktype
        when 'relation' then 'the table ' || asked.relation::regclass::text
        when 'tuple' then 'a row of ' || asked.relation::regclass::text
        when 'transactionid' then 'a row that another transaction has written'
        when 'advisory' then 'an advisory lock'
        else asked.locktype
    end as "waits_for!",
    array(
        select distinct namespace.nspname::text
        from pg_locks as locked
        join pg_class as class on class.oid = locked.relation
        join pg_namespace as namespace on namespace.oid = class.relnamespace
        where locked.pid = waiting.pid
        and locked.locktype = 'relation'
        and locked.database = here.oid
    ) as "schemas!",
    (
        select coalesce(jsonb_agg(jsonb_build_object(
            'pid', holder.pid,
            'name', coalesce(holder.application_name, ''),
            'user', holder.usename,
            'address', host(holder.client_addr),
            'state', coalesce(holder.state, holder.backend_type, 'not visible to this user'),
            'seconds', coalesce(extract(epoch from clock_timestamp() - holder.xact_start), 0)::float8
        ) order by holder.pid), '[]')
        from (select distinct unnest(pg_blocking_pids(waiting.pid)) as pid) as blocking
        join pg_stat_activity as holder on holder.pid = blocking.pid
    ) as "held_by!: Json<Vec<Holder>>"
from pg_database as here
join pg_stat_activity as waiting on waiting.datid = here.oid
cross join lateral (
    select lock.locktype, lock.relation, lock.waitstart
    from pg_locks as lock
    where lock.pid = waiting.pid
    and not lock.granted
    limit 1
) as asked
where here.datname = current_database()
order by asked.waitstart nulls last, waiting.pid
limit $1
