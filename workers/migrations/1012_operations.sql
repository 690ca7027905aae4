-- Operations that people steer: a rate that ends by itself, and one switch that stops all of them.
alter table operations
    -- When the rate falls away. Null: it does not.
    add column rate_until timestamptz,
    -- When a step of it was done last. A sign of life is none.
    add column advanced_at timestamptz,
    drop constraint operations_kind,
    add constraint operations_kind check (
        kind in (
            'repair', 'retry', 'discard', 'rebuild', 'promote', 'rollback', 'retire', 'verify', 'pause', 'resume', 'rate',
            'stop', 'go_on', 'as_of'
        )
    );

-- One row: as long as its end is in the future, no step of an operation is done that a person does not need in an emergency.
create table operations_stop (
    the_only_one boolean primary key default true check (the_only_one),
    stopped_at timestamptz,
    -- infinity: until somebody has them go on.
    stopped_until timestamptz,
    stopped_by text,
    reason text,
    -- When somebody had them go on.
    ended_at timestamptz,
    check (num_nulls(stopped_at, stopped_until, stopped_by, reason) in (0, 4))
);

insert into operations_stop default values;

-- When a pause was ended by a person: what waited for it has stood still since then only.
alter table projections add column resumed_at timestamptz;

-- Which versions of a projection's code run, as far as they keep generations.
create table keepers (
    projection text not null references projections (name) on delete cascade,
    version integer not null,
    seen_at timestamptz not null default clock_timestamp(),
    primary key (projection, version)
) with (fillfactor = 50);

-- A third purpose: to be looked at, as of a past position.
alter table generations
    drop constraint generations_purpose_check,
    add constraint generations_purpose_check check (purpose in ('rebuild', 'verify', 'as_of'));

-- One of each for each projection.
drop index operations_one_rebuild;
create unique index operations_one_rebuild on operations (projection, kind)
where kind in ('rebuild', 'verify', 'as_of') and state in ('pending', 'running', 'paused', 'waiting');

drop index operations_on_generations;
create index operations_on_generations on operations (projection, created_at)
where kind in ('rebuild', 'promote', 'rollback', 'retire', 'verify', 'as_of')
and state in ('pending', 'running', 'paused', 'waiting');

-- The rebuild that was asked for last, which the tasks of a job look for each second.
create index operations_rebuilds on operations (projection, created_at) where kind = 'rebuild';
