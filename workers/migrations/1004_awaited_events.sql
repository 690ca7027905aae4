-- Foreign events that came before their predecessors: how long each has been waited for, by the database's clock. A row
-- goes when its event is adopted or parked, or has not been seen for a day.
create table awaited_events (
    topic text not null,
    event_id uuid not null,
    aggregate_id uuid not null,
    event_version integer not null,
    first_seen_at timestamptz not null default clock_timestamp(),
    seen_at timestamptz not null default clock_timestamp(),
    -- The time between sightings that lay close enough together. Time in which nobody looked does not count, nor does a
    -- jump of the clock.
    waited interval not null default interval '0',
    primary key (topic, event_id)
);

create index awaited_events_seen on awaited_events (topic, seen_at);
