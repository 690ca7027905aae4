-- Binds: topic (null: any); the position that all wanted are before (null: any); most rows.
-- Locks: none.
-- The latest of each topic that is relayed by the primary key, and the latest of those. All of one position are on one page,
-- so that the next one may begin before it.
select
    refused.topic,
    refused.position,
    left(refused.reason, 1000) as "reason!",
    refused.refused_at,
    event.event_id as "event_id?",
    event.aggregate_id as "aggregate_id?",
    event.event_version as "event_version?",
    event.event_type as "event_type?"
from (
    select latest.*
    from relay_cursors as cursor
    cross join lateral (
        select topic, position, reason, refused_at
        from refused_messages
        where topic = cursor.topic
        and ($2::bigint is null or position < $2)
        order by position desc
        limit $3
    ) as latest
    where $1::text is null or cursor.topic = $1
    order by latest.position desc
    fetch first $3 rows with ties
) as refused
left join events as event on event.position = refused.position
order by refused.position desc, refused.topic
