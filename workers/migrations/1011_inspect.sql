-- What was discarded of one aggregate.
create index discarded_events_of_aggregate on discarded_events (aggregate_id, projection, generation, event_version)
where projection is not null;
