-- Binds: number of events; the head row as the writer left it: epoch, position, place; the columns of the events in
-- position order; the columns of the idempotency keys.
-- Locks: the head row, to the commit. No row comes back if the head is not as the writer left it: nothing is written then.
-- One statement, because it is one commit without a transaction block: one round trip and one flush for the batch. The
-- head row is reached by its place, because its older versions pile up while somebody holds a snapshot, and looking for
-- the newest would go through them all (docs/adr/0015).
with head as (
    update event_store_head
    set position = position + $1
    where ctid = $4::text::tid
    and epoch = $2
    and position = $3
    returning position, ctid::text as place
),
appended as (
    insert into events (
        position, event_id, aggregate_id, aggregate_type, event_type, event_version,
        event_data, metadata, occurred_at, data_bytes, created_at
    )
    select
        head.position - $1 + event.ordinal, event.event_id, event.aggregate_id, event.aggregate_type, event.event_type,
        event.event_version, event.event_data::jsonb, event.metadata::jsonb, event.occurred_at,
        event.data_bytes, clock_timestamp()
    from
        head,
        unnest(
            $5::uuid[], $6::uuid[], $7::text[], $8::text[], $9::integer[], $10::text[], $11::text[], $12::timestamptz[],
            $13::integer[]
        )
        with ordinality as event (
            event_id, aggregate_id, aggregate_type, event_type, event_version, event_data, metadata, occurred_at,
            data_bytes, ordinal
        )
),
used as (
    insert into idempotency_keys (key, digest, first_position, event_count)
    select used.key, used.digest, head.position - $1 + used.first_ordinal, used.event_count
    from
        head,
        unnest($14::text[], $15::bytea[], $16::bigint[], $17::integer[])
        as used (key, digest, first_ordinal, event_count)
)
select position as "position!", place as "place!" from head
