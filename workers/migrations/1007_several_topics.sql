-- A read model may listen to several topics. How far it is settled is a matter of each of them: the workers of one may be
-- away while those of another go on.
alter table projection_progress add column topic text;

update projection_progress
set topic = live.topic
from projections as live
where live.name = projection_progress.projection;

alter table projection_progress
    alter column topic set not null,
    drop constraint projection_progress_pkey,
    add primary key (projection, generation, topic);

-- Whose sweep forgets the id. Null: that of the only topic that the projection has.
alter table processed_event_ids add column topic text;

-- What is parked is measured for each topic of a read model, and an aggregate that is held has one event that is parked.
-- Two indexes are for the version before, and go with a later one: parked_events_oldest_of_projection and
-- projected_aggregates_held.
create index parked_events_oldest_of_projection_and_topic
    on parked_events (projection, generation, topic, first_parked_at) where projection is not null;
