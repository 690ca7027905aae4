-- Binds: ids, projection, topic, reason, aggregate id, event type (each null: any); the id before the first wanted, the
-- last id wanted; only those without a decision; most rows; the generation, or null.
-- Locks: none.
-- One statement for one, for a page, and for a plan, so that a plan names exactly what a list shows. Ids rise with the
-- time of the first parking: the oldest comes first. What waits behind a letter is not counted: versions have no gaps, so
-- that it is the aggregate's newest version less the letter's. Letters of the live generation, and of those that somebody keeps.
select
    parked.id,
    parked.topic,
    parked.projection,
    parked.generation,
    parked.reason,
    parked.error,
    parked.event_id,
    parked.attributes ->> 'event_type' as event_type,
    parked.aggregate_id,
    parked.event_version,
    parked.position,
    parked.message_id,
    octet_length(parked.payload) as "payload_bytes!",
    parked.attempts,
    parked.first_parked_at,
    parked.last_parked_at,
    parked.decision,
    parked.operation_id,
    coalesce(parked.generation = live.generation, true) as "is_read!",
    case when parked.projection is not null then newest.event_version - parked.event_version end::bigint as "waiting?"
from parked_events as parked
left join projections as live on live.name = parked.projection
left join lateral (
    select event.event_version
    from events as event
    where event.aggregate_id = parked.aggregate_id
    order by event.event_version desc
    limit 1
) as newest on parked.projection is not null
where (
    parked.projection is null
    or parked.generation = live.generation
    or exists (
        select
        from generations as kept
        where kept.projection = parked.projection
        and kept.generation = parked.generation
        and kept.purpose = 'rebuild'
        and kept.retired_at is null
        and (kept.kept_until is null or kept.kept_until > clock_timestamp())
    )
)
and ($1::uuid[] is null or parked.id = any($1))
and ($2::text is null or parked.projection = $2)
and ($3::text is null or parked.topic = $3)
and ($4::text is null or parked.reason = $4)
and ($5::uuid is null or parked.aggregate_id = $5)
and ($6::text is null or parked.attributes ->> 'event_type' = $6)
and ($7::uuid is null or parked.id > $7)
and ($8::uuid is null or parked.id <= $8)
and (not $9 or parked.decision is null)
and ($11::integer is null or parked.generation = $11)
and (parked.projection is null or parked.projection <> all($12::text[]))
order by parked.id
limit $10
