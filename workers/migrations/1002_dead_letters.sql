-- A dead letter gets a decision: try it again, or go on without it. The API writes the decision, a worker makes it true.

alter table parked_events
    add column generation integer,
    -- What a person decided, in which operation. Both null: nobody did yet.
    add column decision text,
    add column operation_id uuid references operations (id),
    add constraint parked_events_decision check (decision in ('retry', 'discard')),
    add constraint parked_events_decided check ((decision is null) = (operation_id is null));

update parked_events
set generation = live.generation
from projections as live
where live.name = parked_events.projection;

alter table parked_events
    add constraint parked_events_generation check ((projection is null) = (generation is null));

drop index parked_events_once_per_projection;
create unique index parked_events_once_per_generation on parked_events (projection, generation, event_id)
where projection is not null;
-- The one dead letter at the front of a held aggregate.
create index parked_events_sequence on parked_events (projection, generation, aggregate_id)
where projection is not null;
-- What the workers have to do.
create index parked_events_decisions on parked_events (operation_id) where decision is not null;

-- Raised whenever the hold of an aggregate ends. A sweep that looked before counted what was held as settled; its view
-- is out of date, and it must look again before it moves the settled position.
alter table projection_progress
    add column releases bigint not null default 0;

-- What a person decided to go on without, whole, so that nothing is ever lost.
create table discarded_events (
    id uuid primary key,
    topic text not null,
    projection text,
    generation integer,
    reason text not null,
    error text not null,
    event_id uuid,
    aggregate_id uuid,
    event_version integer,
    position bigint,
    message_id text,
    payload bytea not null,
    attributes jsonb not null,
    attempts integer not null,
    first_parked_at timestamptz not null,
    last_parked_at timestamptz not null,
    operation_id uuid not null references operations (id),
    discarded_at timestamptz not null default clock_timestamp()
);

create index discarded_events_of_projection on discarded_events (projection, event_id);

alter table operations
    alter column projection drop not null,
    alter column position drop not null,
    alter column upto drop not null,
    -- Events a second, of each worker.
    add column rate double precision,
    drop constraint operations_kind,
    add constraint operations_kind check (kind in ('repair', 'retry', 'discard')),
    add constraint operations_repair check (
        kind <> 'repair' or (projection is not null and position is not null and upto is not null)
    );

-- Who did what, and why. Written in the transaction of the deed; nobody updates or deletes.
create table audit_log (
    id uuid primary key,
    at timestamptz not null default clock_timestamp(),
    actor text not null,
    action text not null,
    target text not null,
    reason text not null,
    detail jsonb not null default '{}'
);
