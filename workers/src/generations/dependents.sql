-- Binds: a schema.
-- Locks: none.
with ours as (
    select class.oid
    from pg_class as class
    where class.relnamespace = to_regnamespace(quote_ident($1))
),

dependent as (
    select rule.ev_class as oid
    from ours
    join pg_depend as dependency
        on dependency.refclassid = 'pg_class'::regclass
        and dependency.refobjid = ours.oid
        and dependency.classid = 'pg_rewrite'::regclass
    join pg_rewrite as rule on rule.oid = dependency.objid
    union
    select foreign_key.conrelid
    from ours
    join pg_depend as dependency
        on dependency.refclassid = 'pg_class'::regclass
        and dependency.refobjid = ours.oid
        and dependency.classid = 'pg_constraint'::regclass
    join pg_constraint as foreign_key on foreign_key.oid = dependency.objid and foreign_key.conrelid <> 0
    union
    select dependency.objid
    from ours
    join pg_depend as dependency
        on dependency.refclassid = 'pg_class'::regclass
        and dependency.refobjid = ours.oid
        and dependency.classid = 'pg_class'::regclass
)

select format('%I.%I', namespace.nspname, class.relname) as "name!"
from dependent
join pg_class as class on class.oid = dependent.oid and class.relkind in ('r', 'p', 'v', 'm', 'f')
join pg_namespace as namespace on namespace.oid = class.relnamespace
where namespace.oid <> to_regnamespace(quote_ident($1))
and namespace.nspname <> 'pg_toast'
order by 1
limit 20
