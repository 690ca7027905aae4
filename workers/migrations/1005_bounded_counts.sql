-- What is parked is listed, and measured oldest first, for one projection or topic, however much of the others is parked.
create index parked_events_of_projection on parked_events (projection, generation, id) where projection is not null;
create index parked_events_of_topic on parked_events (topic, id) where projection is null;
create index parked_events_oldest_of_projection on parked_events (projection, generation, first_parked_at)
where projection is not null;
create index parked_events_oldest_of_topic on parked_events (topic, first_parked_at) where projection is null;

-- What the workers look for each second: decisions, the oldest letter first, however many letters nobody has decided about.
create index parked_events_of_operation on parked_events (operation_id, id) where decision is not null;
drop index parked_events_decisions;

-- The newest operations first.
create index operations_created_at on operations (created_at);

-- From now on the sweep forgets the ids between two settled positions, and no longer looks below.
delete from processed_event_ids
using projection_progress as progress
where processed_event_ids.projection = progress.projection
and processed_event_ids.generation = progress.generation
and processed_event_ids.position <= progress.settled_position;
