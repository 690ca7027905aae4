-- Binds: aggregate ids, times from and to, most events counted.
-- Locks: none.
-- One statement: how many events each index leads to, as far as is worth knowing.
select
    (
        select count(*) from (
            select
            from unnest($1::uuid[]) as wanted (aggregate_id)
            cross join lateral (select from events where events.aggregate_id = wanted.aggregate_id offset 0) as event
            limit $4
        ) as counted
    ) as "of_aggregates!",
    (
        select count(*) from (
            select from events
            where occurred_at >= coalesce($2::timestamptz, '-infinity')
            and occurred_at < coalesce($3::timestamptz, 'infinity')
            order by occurred_at
            limit $4
        ) as counted
    ) as "of_times!"
