-- $1 users of 22 events each: they sign up, and change their address 21 times. 250 of them are at it at a time.
with happened as (
    select
        ('019a0000-0000-7000-b000-' || lpad(to_hex(number), 12, '0'))::uuid as id,
        version,
        number / 250 * 250 * 22 + (version - 1) * least(250, $1 - number / 250 * 250) + number % 250 + 1 as position,
        timestamptz '2025-01-01 08:00:00+00' + number * interval '7 minutes' + version * interval '13 seconds' as occurred_at
    from generate_series(0, $1::bigint - 1) as number
    cross join generate_series(1, 22) as version
),
told as (
    select
        *,
        case version
            when 1 then jsonb_build_object('user_id', id, 'email', 'somebody@example.org', 'first_name', 'Ada', 'last_name', 'L')
            else jsonb_build_object('user_id', id, 'email', 'number' || version || '@example.org')
        end as event_data
    from happened
)
insert into events (
    position, event_id, aggregate_id, aggregate_type, event_type, event_version, event_data, metadata, occurred_at,
    created_at, data_bytes
)
select
    position,
    ('019b0000-0000-7000-8000-' || lpad(to_hex(position), 12, '0'))::uuid,
    id,
    'User',
    case version when 1 then 'UserSignedUp' else 'UserEmailUpdated' end,
    version,
    event_data,
    '{"schema_version": 2}',
    occurred_at,
    occurred_at,
    octet_length(event_data::text) + 30
from told
order by position
