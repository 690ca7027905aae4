-- Two more reasons to park: the store cannot give the event's data back; the projection's code panics on it.

alter table parked_events
    drop constraint parked_events_reason,
    add constraint parked_events_reason check (reason in (
        'undecodable', 'wrong_data', 'unknown_event', 'version_clash', 'write_failed', 'missing_versions', 'unreadable',
        'panicked'
    ));
