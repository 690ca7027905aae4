-- Projections that are ahead of the store: nothing, as it should be, or one row for each with what is wrong. They drop new events
-- as duplicates. Look after every restore that was not the whole database: docs/deploy.md.
--
--   psql "$DATABASE_URL" --file=deploy/read-models-ahead.sql
select
    live.name as projection,
    progress.settled_position,
    head.position as head,
    (
        select count(*)
        from projected_aggregates as applied
        where applied.projection = live.name
        and applied.generation = live.generation
        and applied.version > (
            select coalesce(max(event.event_version), 0) from events as event where event.aggregate_id = applied.aggregate_id
        )
    ) as aggregates_ahead
from projections as live
join lateral (
    select max(settled_position) as settled_position
    from projection_progress
    where projection_progress.projection = live.name and projection_progress.generation = live.generation
) as progress on true
cross join event_store_head as head
where progress.settled_position > head.position
or exists (
    select from projected_aggregates as applied
    where applied.projection = live.name
    and applied.generation = live.generation
    and applied.version > (
        select coalesce(max(event.event_version), 0) from events as event where event.aggregate_id = applied.aggregate_id
    )
)
order by 1;
