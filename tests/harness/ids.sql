-- Binds: aggregate types, the topic of each.
-- Where the ids remembered and the versions applied disagree: an applied event above the settled position of its topic
-- without its id, or an id of an event that is not applied, or that another topic's sweep would forget.
with carried as (
    select carried.aggregate_type, carried.topic from unnest($1::text[], $2::text[]) as carried (aggregate_type, topic)
)
select progress.projection, event.position, 'applied, but its id is not remembered' as what
from projection_progress as progress
join projections as projection on projection.name = progress.projection and projection.generation = progress.generation
join projected_aggregates as known
    on known.projection = progress.projection and known.generation = progress.generation
join events as event
    on event.aggregate_id = known.aggregate_id
    and event.event_version <= known.version
    and event.position > progress.settled_position
join carried on carried.aggregate_type = event.aggregate_type and carried.topic = progress.topic
where not exists (
    select from processed_event_ids as id
    where id.projection = progress.projection
    and id.generation = progress.generation
    and id.event_id = event.event_id
    and coalesce(id.topic, progress.topic) = progress.topic
    and (id.topic is not null) = (
        select count(*) > 1
        from projection_progress as listening
        where listening.projection = id.projection and listening.generation = id.generation
    )
)
union all
select id.projection, id.position, 'its id is remembered, but it is not applied'
from processed_event_ids as id
left join events as event on event.event_id = id.event_id and event.position = id.position
left join projected_aggregates as known
    on known.projection = id.projection
    and known.generation = id.generation
    and known.aggregate_id = event.aggregate_id
    and known.version >= event.event_version
where known.aggregate_id is null
