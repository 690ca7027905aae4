-- A person may say that nothing is applied to a read model for now. It stands in the fence row, which every writer reads in
-- the transaction in which it writes.
alter table projections
    add column paused_at timestamptz,
    -- Paused as long as this is in the future; infinity: until somebody resumes it.
    add column paused_until timestamptz,
    add column paused_by text,
    add column pause_reason text,
    add constraint projections_pause check (
        num_nulls(paused_at, paused_until, paused_by, pause_reason) in (0, 4)
    );

alter table operations
    drop constraint operations_kind,
    add constraint operations_kind check (kind in ('repair', 'retry', 'discard', 'pause', 'resume'));

-- What was discarded of one aggregate.
create index discarded_events_of_aggregate on discarded_events (aggregate_id, projection, generation, event_version)
where projection is not null;
