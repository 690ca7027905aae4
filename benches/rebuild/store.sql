-- $1 sessions of 22 events each: a start, 20 answers, an end. 250 run at a time; each learner has ten.
with session as (
    select
        number,
        ('019a0000-0000-7000-8000-' || lpad(to_hex(number), 12, '0'))::uuid as id,
        ('019a0000-0000-7000-9000-' || lpad(to_hex(number / 10), 12, '0'))::uuid as learner
    from generate_series(0, $1::bigint - 1) as number
),
happened as (
    select
        session.id,
        version,
        number / 250 * 250 * 22 + (version - 1) * least(250, $1 - number / 250 * 250) + number % 250 + 1 as position,
        case version when 1 then 'SessionStarted' when 22 then 'SessionCompleted' else 'CorrectnessJudged' end as event_type,
        case version
            when 1 then jsonb_build_object(
                'session_id', session.id, 'user_id', session.learner, 'item_count', 20, 'strategy', 'spaced_repetition'
            )
            when 22 then jsonb_build_object(
                'session_id', session.id, 'user_id', session.learner, 'duration_seconds', 300 + number % 900,
                'reason', 'all_items_answered'
            )
            else jsonb_build_object(
                'session_id', session.id,
                'item_id', ('019a0000-0000-7000-a000-' || lpad(to_hex(number / 10 * 100 + (number * 20 + version) % 100), 12, '0')),
                'judgment', (array['auto_confirmed', 'user_confirmed_correct', 'user_confirmed_incorrect'])[1 + version % 3],
                'response_time_ms', 500 + number % 5000,
                'answer', 'what the learner has typed, and what it was compared with'
            )
        end as event_data,
        jsonb_build_object(
            'correlation_id', session.id, 'causation_id', session.id, 'user_agent', 'learning-app/4.2 (a phone)',
            'traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
        ) as metadata,
        timestamptz '2025-01-01 08:00:00+00' + number * interval '7 minutes' + version * interval '13 seconds' as occurred_at
    from session
    cross join generate_series(1, 22) as version
)
insert into events (
    position, event_id, aggregate_id, aggregate_type, event_type, event_version, event_data, metadata, occurred_at,
    created_at, data_bytes
)
select
    position,
    ('019b0000-0000-7000-8000-' || lpad(to_hex(position), 12, '0'))::uuid,
    id,
    'LearningSession',
    event_type,
    version,
    event_data,
    metadata,
    occurred_at,
    occurred_at,
    octet_length(event_data::text) + octet_length(metadata::text)
from happened
order by position
