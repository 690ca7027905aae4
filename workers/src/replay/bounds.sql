-- Binds: times from and to, most events looked at.
-- Locks: none.
-- One statement: between which positions the events of that time lie. If there are more than the most, it does not say.
select
    count(*) as "count!",
    min(selected.position) as first,
    max(selected.position) as last
from (
    select position
    from events
    where occurred_at >= coalesce($1::timestamptz, '-infinity')
    and occurred_at < coalesce($2::timestamptz, 'infinity')
    order by occurred_at
    limit $3
) as selected
