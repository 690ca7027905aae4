-- Binds: a schema.
-- Locks: its tables, so that nobody drops them meanwhile. Of one that somebody has locked, or is about to, the size is that of when
-- Postgres counted last, because nobody waits for that.
select
    class.relname as "name!",
    greatest(class.reltuples, 0)::bigint as "rows!",
    case
        when exists (
            select
            from pg_locks as held
            where held.locktype = 'relation'
            and held.relation = class.oid
            and held.mode = 'AccessExclusiveLock'
        ) then class.relpages::bigint * current_setting('block_size')::bigint
        else pg_total_relation_size(class.oid)
    end as "bytes!"
from pg_class as class
where class.relnamespace = to_regnamespace(quote_ident($1))
and class.relkind in ('r', 'p')
order by class.relname
