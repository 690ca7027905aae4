-- Binds: when it was measured; the projections, their topics, generations, settled positions, events, seconds, whether those are at
-- most; the head.
-- Locks: rows of its own slot, in their order.
-- The slot is that of the database's clock. Whoever measured first in it has said what there is to say.
insert into lag_samples
    (slot, projection, topic, generation, observed_at, head_position, settled_position, lag_events, lag_seconds, lag_at_most)
select
    floor(extract(epoch from $1::timestamptz) / 10)::bigint, it.projection, it.topic, it.generation, $1, $9, it.settled,
    it.events, it.seconds, it.at_most
from unnest($2::text[], $3::text[], $4::integer[], $5::bigint[], $6::bigint[], $7::double precision[], $8::boolean[])
    as it (projection, topic, generation, settled, events, seconds, at_most)
order by it.projection, it.topic
on conflict do nothing
