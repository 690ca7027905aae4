-- Binds: number of events, epoch; the columns of the events in position order; the columns of the idempotency keys.
-- Locks: the head row, to the commit. No row comes back if the epoch is not the writer's: nothing is written then.
-- One statement, because it is one commit without a transaction block: one round trip and one flush for the batch.
with head as (
    update event_store_head
    set position = position + $1
    where epoch = $2
    returning position - $1 as base
),
appended as (
    insert into events (
        position, event_id, aggregate_id, aggregate_type, event_type, event_version,
        event_data, metadata, occurred_at, data_bytes, created_at
    )
    select
        head.base + event.ordinal, event.event_id, event.aggregate_id, event.aggregate_type, event.event_type,
        event.event_version, event.event_data::jsonb, event.metadata::jsonb, event.occurred_at,
        event.data_bytes, clock_timestamp()
    from
        head,
        unnest(
            $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::integer[], $8::text[], $9::text[], $10::timestamptz[],
            $11::integer[]
        )
        with ordinality as event (
            event_id, aggregate_id, aggregate_type, event_type, event_version, event_data, metadata, occurred_at,
            data_bytes, ordinal
        )
),
used as (
    insert into idempotency_keys (key, digest, first_position, event_count)
    select used.key, used.digest, head.base + used.first_ordinal, used.event_count
    from
        head,
        unnest($12::text[], $13::bytea[], $14::bigint[], $15::integer[])
        as used (key, digest, first_ordinal, event_count)
)
select base as "base!" from head
