-- Binds: aggregate types.
-- Locks: none.
-- Of the events of the store, those of these types, as Postgres has counted them last; null: it has not. What is too rare to be
-- counted is in what is left over.
select case
    when count(*) > 0 then coalesce(
        sum(common.frequency) filter (where common.aggregate_type = any($1::text[])),
        greatest(1 - sum(common.frequency), 0.0001)
    )
end::float8 as share
from pg_stats as counted
cross join lateral unnest(counted.most_common_vals::text::text[], counted.most_common_freqs)
    as common (aggregate_type, frequency)
where counted.schemaname = 'public'
and counted.tablename = 'events'
and counted.attname = 'aggregate_type'
