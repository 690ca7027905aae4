-- The event store. Which index is here for what, and which of the first ADR's is not: docs/adr/0003.

create table events (
    event_id uuid not null,
    aggregate_id uuid not null,
    aggregate_type varchar(100) not null,
    event_type varchar(100) not null,
    event_version integer not null,
    event_data jsonb not null,
    metadata jsonb not null,
    occurred_at timestamptz not null,
    created_at timestamptz not null default clock_timestamp(),
    position bigint not null,
    constraint events_event_id primary key (event_id),
    constraint events_aggregate_version unique (aggregate_id, event_version),
    constraint events_position unique (position),
    constraint events_event_version_from_1 check (event_version >= 1),
    constraint events_position_from_1 check (position >= 1)
);

create index events_occurred_at on events (occurred_at);
create index events_created_at on events (created_at);

comment on column events.position is 'place in the whole store: gapless, rising in commit order';
comment on column events.created_at is 'recorded at: the database''s clock at the append';

create function refuse_to_change_events() returns trigger language plpgsql as $$
begin
    raise exception 'events are never changed: % on table events is refused', tg_op
        using errcode = 'restrict_violation';
end
$$;

create trigger events_are_never_changed
    before update or delete or truncate on events
    for each statement execute function refuse_to_change_events();

-- One row: the last position given out. Whoever appends holds its lock to the commit, so that positions are gapless and
-- rise in commit order. The epoch names the writer whose knowledge of aggregate versions is up to date.
create table event_store_head (
    one_row boolean primary key default true,
    position bigint not null default 0,
    epoch bigint not null default 0,
    constraint event_store_head_one_row check (one_row)
) with (fillfactor = 10);

insert into event_store_head default values;

create table idempotency_keys (
    key varchar(200) primary key,
    digest bytea not null,
    first_position bigint not null,
    event_count integer not null,
    created_at timestamptz not null default clock_timestamp()
);

create index idempotency_keys_created_at on idempotency_keys (created_at);

comment on column idempotency_keys.digest is 'SHA-256 of the request: the same key with another request is refused';

create table snapshots (
    aggregate_id uuid primary key,
    aggregate_type varchar(100) not null,
    snapshot_data jsonb not null,
    event_version integer not null,
    created_at timestamptz not null default now()
);

-- How far each topic has been published, and who may publish.
create table relay_cursors (
    topic varchar(255) primary key,
    position bigint not null default 0,
    lease_holder uuid,
    leased_until timestamptz,
    moved_at timestamptz not null default now()
) with (fillfactor = 10);
