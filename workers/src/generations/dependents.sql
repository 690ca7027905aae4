-- Binds: a schema, and the one to look in (null: in all others).
-- Locks: none.
with dependent as (
    select distinct case
        when rule.oid is not null then rule.ev_class
        when foreign_key.oid is not null then foreign_key.conrelid
        else dependency.objid
    end as oid
    from pg_class as ours
    join pg_depend as dependency on dependency.refclassid = 'pg_class'::regclass and dependency.refobjid = ours.oid
    left join pg_rewrite as rule on dependency.classid = 'pg_rewrite'::regclass and rule.oid = dependency.objid
    left join pg_constraint as foreign_key
        on dependency.classid = 'pg_constraint'::regclass
        and foreign_key.oid = dependency.objid
    where ours.relnamespace = to_regnamespace(quote_ident($1))
    and dependency.classid in ('pg_rewrite'::regclass, 'pg_constraint'::regclass, 'pg_class'::regclass)
)

select format('%I.%I', namespace.nspname, class.relname) as "name!"
from dependent
join pg_class as class on class.oid = dependent.oid and class.relkind in ('r', 'p', 'v', 'm', 'f')
join pg_namespace as namespace on namespace.oid = class.relnamespace
where namespace.oid <> to_regnamespace(quote_ident($1))
and namespace.nspname <> 'pg_toast'
and ($2::text is null or namespace.nspname = $2)
order by 1
limit 20
