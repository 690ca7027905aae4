-- What a person discarded is counted beside what was applied, by position: see workers/src/losses.
create index discarded_events_of_generation on discarded_events (projection, generation, topic, position)
where projection is not null;

-- Bookkeeping does not grow for ever: see workers/src/retention. A discarded event of a generation that is still there leaves a row
-- without its contents, because whoever builds the rows anew must pass over it again.
alter table discarded_events add column pruned_at timestamptz;

create index discarded_events_old on discarded_events (discarded_at) where pruned_at is null;
create index operations_old on operations (finished_at) where finished_at is not null;
create index audit_log_at on audit_log (at);
-- What stands in the way of an operation's end.
create index discarded_events_of_operation on discarded_events (operation_id);

-- A prune is recorded in the audit log only: one key, one prune.
create unique index audit_log_prunes on audit_log (target) where action = 'retention.prune';

comment on table audit_log is 'Who did what, and why: inserted in the transaction of the deed, never updated, pruned when it is old';

-- An operation ends only after Postgres has looked for letters that point to it.
create index parked_events_operation on parked_events (operation_id) where operation_id is not null;
