-- What the store lost and the bus still had: the parked messages of unknown events, as requests that `fleet import` takes, in
-- the order in which they had been appended. For a store that was taken back in time: docs/deploy.md.
--
--   psql "$DATABASE_URL" --no-align --tuples-only --file=deploy/lost-events.sql >lost.ndjson
--
-- One request an event, with the version before its own as the expected one, so that an event never takes the place of
-- another. The key makes it safe to import twice.
with lost as (
    select distinct on (event ->> 'event_id') event
    from (
        select convert_from(payload, 'UTF8')::jsonb as event
        from parked_events
        where reason = 'unknown_event'
    ) as parked
    order by event ->> 'event_id'
)
select jsonb_build_object(
    'aggregate_id', event -> 'aggregate_id',
    'aggregate_type', event -> 'aggregate_type',
    'expected_version', (event ->> 'event_version')::bigint - 1,
    'idempotency_key', 'lost ' || (event ->> 'event_id'),
    'events', jsonb_build_array(
        jsonb_build_object(
            'event_id', event -> 'event_id',
            'event_type', event -> 'event_type',
            'event_data', event -> 'event_data',
            'metadata', event -> 'metadata',
            'occurred_at', event -> 'occurred_at'
        )
    )
)
from lost
order by (event ->> 'position')::bigint nulls last, (event ->> 'event_version')::bigint;
