-- Binds: projection, most rows.
-- Locks: none.
-- The newest first. What was found before it was written down of which generation is left out.
select
    (operation.result ->> 'generation')::integer as "generation!",
    coalesce((operation.result ->> 'ledger_differences')::bigint, 0) + coalesce((
        select sum((compared.value ->> 'differences')::bigint)
        from jsonb_array_elements(operation.result -> 'tables') as compared
    ), 0)::bigint as "differences!"
from operations as operation
where operation.projection = $1
and operation.kind = 'verify'
and operation.finished_at is not null
and operation.result ? 'generation'
order by operation.finished_at desc
limit $2
