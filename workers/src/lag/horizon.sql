-- Binds: none.
-- Locks: none.
-- One statement: whatever keeps dead rows of this database from being removed, the one that keeps most first. A vacuum
-- does not hold up another, and this very session is over in a moment. Slots and standbys have no time of their own.
select
    kind as "kind!",
    pid,
    name as "name!",
    horizon::text as "horizon!",
    extract(epoch from clock_timestamp() - since)::float8 as seconds
from (
    select
        case when backend_type = 'walsender' then 'standby' else 'session' end as kind,
        pid,
        coalesce(application_name, '') as name,
        coalesce(backend_xmin, backend_xid) as horizon,
        xact_start as since
    from pg_stat_activity
    where pid <> pg_backend_pid()
    and backend_type <> 'autovacuum worker'
    and (datname = current_database() or backend_type = 'walsender')
    union all
    select 'prepared transaction', null, gid, transaction, prepared
    from pg_prepared_xacts
    where database = current_database()
    union all
    select 'replication slot', active_pid, slot_name::text, xmin, null
    from pg_replication_slots
) as holder
where horizon is not null
order by age(horizon) desc, since
limit 10
