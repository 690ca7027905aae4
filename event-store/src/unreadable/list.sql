-- Binds: the position that all wanted are before (null: any); the one position that is wanted (null: any); most rows.
-- Locks: none.
-- One statement for a page and for one, so that both say the same. Sizes as stored are read off the row: nothing is decompressed.
select
    finding.position,
    finding.event_id,
    finding.aggregate_id,
    finding.event_version,
    finding.aggregate_type,
    finding.event_type,
    pg_column_size(event.event_data) + pg_column_size(event.metadata) as stored_bytes,
    nullif(finding.bytes, 2147483647) as printed_bytes,
    left(finding.reason, 1000) as "reason!",
    finding.found_at,
    event.occurred_at as "occurred_at?",
    event.created_at as "recorded_at?"
from unreadable_events as finding
left join events as event on event.position = finding.position and event.event_id = finding.event_id
where ($1::bigint is null or finding.position < $1)
and ($2::bigint is null or finding.position = $2)
order by finding.position desc
limit $3
