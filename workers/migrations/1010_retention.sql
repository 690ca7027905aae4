-- What a person discarded is counted beside what was applied, by position: see workers/src/losses.
create index discarded_events_of_generation on discarded_events (projection, generation, topic, position)
where projection is not null;
