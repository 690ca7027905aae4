-- How far each projection was in the last hour, a sample each ten seconds however many processes measure: better or worse, and
-- done when, can be said while nobody else remembers.
create table lag_samples (
    -- Tens of seconds since 1970.
    slot bigint not null,
    projection text not null,
    topic text not null,
    generation integer not null,
    observed_at timestamptz not null,
    head_position bigint not null,
    settled_position bigint not null,
    lag_events bigint not null,
    lag_seconds double precision not null,
    lag_at_most boolean not null,
    primary key (slot, projection, topic)
);
