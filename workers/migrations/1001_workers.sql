-- What the workers remember. Everything here grows with projections and aggregates, not with events.

-- The fence: which generation of a projection is live, and in which schema. Writers share-lock the row for their
-- transaction; promote changes it.
create table projections (
    name text primary key,
    topic text not null,
    version integer not null,
    generation integer not null default 1,
    schema_name text not null
);

comment on column projections.version is 'Projection::VERSION of the code that built the live generation';

-- How far each generation is settled: every event up to there is applied, skipped, or waits for a person.
create table projection_progress (
    projection text not null references projections (name),
    generation integer not null,
    settled_position bigint not null default 0,
    -- When a sweep last looked: the heartbeat of the projection's workers.
    swept_at timestamptz,
    primary key (projection, generation)
) with (fillfactor = 10);

-- How far each aggregate is applied.
create table projected_aggregates (
    projection text not null,
    generation integer not null,
    aggregate_id uuid not null,
    version integer not null,
    -- An event of it is parked: later ones wait.
    held boolean not null default false,
    primary key (projection, generation, aggregate_id)
) with (fillfactor = 85);

create index projected_aggregates_held on projected_aggregates (projection, generation) where held;

-- The events applied above the settled position. What is at or below it needs no memory: it is settled.
create table processed_event_ids (
    projection text not null,
    generation integer not null,
    event_id uuid not null,
    position bigint not null,
    processed_at timestamptz not null default clock_timestamp(),
    primary key (projection, generation, event_id)
);

create index processed_event_ids_position on processed_event_ids (projection, generation, position);

-- What could not be applied and waits for a person. With a projection: an event of the store that this projection
-- failed on. Without: a message of the topic that is no event of the store.
create table parked_events (
    id uuid primary key,
    topic text not null,
    projection text,
    reason text not null,
    error text not null,
    event_id uuid,
    aggregate_id uuid,
    event_version integer,
    position bigint,
    message_id text,
    payload bytea not null,
    attributes jsonb not null default '{}',
    attempts integer not null default 1,
    first_parked_at timestamptz not null default clock_timestamp(),
    last_parked_at timestamptz not null default clock_timestamp(),
    constraint parked_events_reason check (reason in (
        'undecodable', 'wrong_data', 'unknown_event', 'version_clash', 'write_failed', 'missing_versions'
    ))
);

create unique index parked_events_once_per_projection on parked_events (projection, event_id) where projection is not null;
-- The bytes belong to the key, because an emulator that starts anew gives its message ids anew.
create unique index parked_events_once_per_message on parked_events (topic, message_id, md5(payload))
where projection is null;

-- Long work on behalf of an operator: asked for here, done by a worker, resumed by another if that one dies.
create table operations (
    id uuid primary key,
    kind text not null,
    projection text not null references projections (name),
    selection jsonb not null,
    state text not null default 'pending',
    reason text not null default '',
    actor text not null default '',
    idempotency_key text unique,
    -- Everything of the selection up to here is done.
    position bigint not null,
    -- The last position of the selection.
    upto bigint not null,
    selected bigint not null,
    seen bigint not null default 0,
    applied bigint not null default 0,
    parked bigint not null default 0,
    error text,
    runner uuid,
    created_at timestamptz not null default clock_timestamp(),
    started_at timestamptz,
    heartbeat_at timestamptz,
    finished_at timestamptz,
    constraint operations_kind check (kind in ('repair')),
    constraint operations_state check (state in ('pending', 'running', 'succeeded', 'failed'))
);

create index operations_open on operations (created_at) where state in ('pending', 'running');
