-- Binds: a schema.
-- Locks: none.
-- Whoever refers to a table holds a lock on it until its transaction ends.
select distinct format('%I.%I', namespace.nspname, class.relname) as "name!"
from pg_locks as lock
join pg_class as class on class.oid = lock.relation and class.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
join pg_namespace as namespace on namespace.oid = class.relnamespace
join generations as generation on generation.schema_name = namespace.nspname::text
where lock.locktype = 'relation'
and lock.pid = pg_backend_pid()
and namespace.nspname <> $1
order by 1
limit 20
