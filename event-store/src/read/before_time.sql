-- Binds: time.
-- Locks: none.
-- One statement, because one snapshot must show the event and, if there is none, the head. `offset 0` keeps the planner
-- from looking for the lowest position in the index on positions, which would be from the beginning of the store.
select
    coalesce(
        (
            select min(first.position) - 1
            from (
                select position
                from events
                where created_at = (
                    select created_at from events where created_at >= $1 order by created_at limit 1
                )
                offset 0
            ) as first
        ),
        (select max(position) from events),
        0
    ) as "position!"
