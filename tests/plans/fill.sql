-- A store of :events events, with all that grows beside it, as if it had been used: three events of each aggregate, the last
-- tenth unsettled, a part parked. Every 1000th aggregate is of a rare topic.
insert into events (
    position, event_id, aggregate_id, aggregate_type, event_type, event_version, event_data, metadata, occurred_at,
    created_at
)
select
    number,
    ('01900000-0000-7000-8000-' || lpad(to_hex(number), 12, '0'))::uuid,
    md5(((number - 1) / 3)::text)::uuid,
    case when (number - 1) / 3 % 1000 = 0 then 'User'
        when (number - 1) / 3 % 2 = 0 then 'VocabularyItem' else 'LearningSession' end,
    'Something',
    (number - 1) % 3 + 1,
    '{"some": "data"}',
    '{}',
    now() - interval '100 days' + number * interval '2 seconds',
    now() - interval '100 days' + number * interval '2 seconds'
from generate_series(1, :events::bigint) as number;

update event_store_head set position = :events;

insert into projections (name, topic, version, schema_name) values ('spare', 'vocabulary-events', 1, 'spare');

insert into idempotency_keys (key, digest, first_position, event_count, created_at)
select
    'key-' || number, sha256(number::text::bytea), number * 3 - 2, 3,
    now() - interval '100 days' + number * interval '6 seconds'
from generate_series(1, :events::bigint / 3) as number;

insert into snapshots (aggregate_id, aggregate_type, snapshot_data, event_version)
select aggregate_id, aggregate_type, '{}', 2 from events where event_version = 2 and position % 10 = 0;

insert into projected_aggregates (projection, generation, aggregate_id, version, held)
select projection, 1, aggregate_id, case when position / 3 % 7 = 0 then 0 else 3 end, position / 3 % 77 = 0
from events
cross join unnest(array['vocabulary', 'user_directory']) as projection
where event_version = 3;

update projection_progress set settled_position = :events::bigint - :events::bigint / 10;

insert into processed_event_ids (projection, generation, event_id, position)
select projection, 1, event_id, position
from events
cross join unnest(array['vocabulary', 'user_directory']) as projection
where position > :events::bigint - :events::bigint / 10;

insert into operations (id, kind, projection, selection, state, idempotency_key, position, upto, selected, finished_at)
select
    ('01900000-0000-7000-9000-' || lpad(to_hex(number), 12, '0'))::uuid, 'repair', 'vocabulary', '{}',
    case when number % 500 = 0 then 'pending' else 'succeeded' end, 'operation-' || number, 0, 1, 1,
    case when number % 500 <> 0 then now() - interval '100 days' + number * interval '1 minute' end
from generate_series(1, 2000 + :events::bigint / 100) as number;

insert into generations (projection, generation, version, schema_name, built_at)
values ('vocabulary', 2, 1, 'vocabulary__g2', now()), ('spare', 1, 1, 'spare__g1', now()), ('spare', 2, 1, 'spare__g2', now());

insert into generation_parts (projection, generation, part, parts)
values ('vocabulary', 2, 0, 2), ('vocabulary', 2, 1, 2), ('spare', 2, 0, 1);

insert into parked_events (
    id, topic, projection, generation, reason, error, event_id, aggregate_id, event_version, position, payload, decision,
    operation_id
)
select
    event_id, 'vocabulary-events', 'vocabulary', 1, 'wrong_data', 'no', event_id, aggregate_id, event_version, position,
    '{}', case when position % 1000 = 0 then 'retry' end,
    case when position % 1000 = 0 then '01900000-0000-7000-9000-000000000001'::uuid end
from events
where position % 10 = 0;

insert into parked_events (id, topic, reason, error, message_id, payload, decision, operation_id)
select
    md5('message' || position)::uuid, 'integration-events', 'undecodable', 'no', position, 'x',
    case when position % 1000 = 1 then 'discard' end,
    case when position % 1000 = 1 then '01900000-0000-7000-9000-000000000001'::uuid end
from events
where position % 10 = 1;

insert into discarded_events (
    id, topic, reason, error, payload, attributes, attempts, first_parked_at, last_parked_at, operation_id
)
select
    event_id, 'vocabulary-events', 'wrong_data', 'no', 'x', '{}', 1, now(), now(), '01900000-0000-7000-9000-000000000001'
from events
where position % 20 = 3;

insert into audit_log (id, actor, action, target, reason)
select event_id, 'somebody', 'replay.create', 'x', 'because' from events where position % 10 = 0;

insert into lag_samples
select slot, 'projection ' || number, 'topic', 1, now(), 1, 1, 0, 0, false
from generate_series(1000, 1360) as slot, generate_series(1, 100) as number;

insert into unreadable_events (
    position, event_id, aggregate_id, event_version, aggregate_type, event_type, bytes, reason
)
select position, event_id, aggregate_id, event_version, aggregate_type, event_type, 20000001, 'no'
from events where position % 10 = 5;

insert into relay_cursors (topic, position) values ('vocabulary-events', :events), ('progress-events', :events);

insert into refused_messages (topic, position, reason)
select 'vocabulary-events', position, 'no' from events where position % 10 = 5;

analyze;
