-- Binds: projection, topic.
-- Locks: the topic's progress row: until the transaction ends nobody settles there, and no hold ends.
-- One statement, because the live generation and its progress belong together.
select
    progress.generation,
    progress.settled_position,
    progress.releases,
    coalesce(live.paused_until > clock_timestamp(), false) as "paused!"
from projections as live
join projection_progress as progress on progress.projection = live.name and progress.generation = live.generation
where live.name = $1
and progress.topic = $2
for no key update of progress
