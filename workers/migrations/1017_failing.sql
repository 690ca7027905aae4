-- What the workers of a version fail at: it stood in their logs only, and a projection whose writes failed looked like one
-- that had no worker.

alter table keepers
    add column failure text,
    add column failing_since timestamptz,
    add column failed_at timestamptz;

comment on column keepers.failure is 'the error of the last try to apply events that failed';
comment on column keepers.failing_since is 'the first of the tries that failed with less than a minute between each and the next';
