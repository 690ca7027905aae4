-- Generations of a projection: the live one, those that are built beside it, and those that were live before and are kept
-- current for the way back. Which one is live stands here and in the fence, `projections`; both change in one transaction.
create table generations (
    projection text not null references projections (name) on delete cascade,
    generation integer not null,
    -- Projection::VERSION of the code that builds it and keeps it current.
    version integer not null,
    schema_name text not null,
    -- What it is for: rebuild, to be promoted; verify, to be compared and dropped.
    purpose text not null default 'rebuild' check (purpose in ('rebuild', 'verify')),
    -- How far it goes; null: it follows the store.
    upto bigint,
    -- The operation that made it. Null: it is the first one.
    operation_id uuid references operations (id),
    created_at timestamptz not null default clock_timestamp(),
    -- When it had everything that was in the store when its building began, and its indexes.
    built_at timestamptz,
    live_since timestamptz,
    -- When another took its place. It is kept current until this person or that time retires it.
    replaced_at timestamptz,
    kept_until timestamptz,
    -- Its tables are gone; and then what the workers remembered of it.
    retired_at timestamptz,
    forgotten_at timestamptz,
    primary key (projection, generation)
);

create unique index generations_live on generations (projection) where live_since is not null;
create unique index generations_schema on generations (schema_name) where retired_at is null;

insert into generations (projection, generation, version, schema_name, built_at, live_since)
select name, generation, version, schema_name, clock_timestamp(), clock_timestamp()
from projections;

-- How far a generation that is not live follows the store. Each part has the aggregates whose hash is its number, and is
-- built in an order and a pace of its own.
create table generation_parts (
    projection text not null,
    generation integer not null,
    part integer not null,
    parts integer not null,
    -- Everything of the part up to here is applied, skipped, or waits behind a parked event.
    position bigint not null default 0,
    -- The head of the store when it was last looked at.
    head bigint not null default 0,
    -- Events gone through, and transactions.
    events bigint not null default 0,
    chunks bigint not null default 0,
    -- Positions a second of the last chunks, the newest first.
    rates real[] not null default '{}',
    -- Why it is as slow as it is.
    pace text not null default '',
    advanced_at timestamptz not null default clock_timestamp(),
    primary key (projection, generation, part),
    foreign key (projection, generation) references generations (projection, generation) on delete cascade
) with (fillfactor = 10);

alter table operations
    drop constraint operations_kind,
    drop constraint operations_state,
    add constraint operations_kind check (
        kind in ('repair', 'retry', 'discard', 'rebuild', 'promote', 'rollback', 'retire', 'verify')
    ),
    add constraint operations_state check (
        state in ('pending', 'running', 'paused', 'waiting', 'succeeded', 'failed', 'cancelled')
    ),
    -- What it is about, where that is a generation.
    add column generation integer,
    -- What it has found.
    add column result jsonb;

-- Rows of a live generation that are not what the store folds to, by their keys.
create table differences (
    operation_id uuid not null references operations (id) on delete cascade,
    number integer not null,
    table_name text not null,
    key jsonb not null,
    kind text not null check (kind in ('missing', 'extra', 'changed')),
    columns text[] not null,
    primary key (operation_id, number)
);

-- One rebuild, and one verification, for each projection.
create unique index operations_one_rebuild on operations (projection, kind)
where kind in ('rebuild', 'verify') and state in ('pending', 'running', 'paused', 'waiting');

-- What workers look for each second.
create index operations_on_generations on operations (projection, created_at)
where kind in ('rebuild', 'promote', 'rollback', 'retire', 'verify') and state in ('pending', 'running', 'paused', 'waiting');
