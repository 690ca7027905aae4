-- Binds: projections, the versions of their code that this worker has, what applying to them has failed with since it said so last,
-- and whether what had failed here goes through again.
-- Locks: the rows of these versions, in order of projection.
-- A worker to which nothing fails leaves what another one says of its own: what is a minute old counts for nothing.
insert into keepers as kept (projection, version, failure, failing_since, failed_at)
select
    ours.projection,
    ours.version,
    ours.failure,
    case when ours.failure is not null then clock_timestamp() end,
    -- A failure that has ended is one of long ago.
    case when ours.mended then '-infinity' when ours.failure is not null then clock_timestamp() end
from unnest($1::text[], $2::integer[], $3::text[], $4::boolean[]) as ours (projection, version, failure, mended)
join projections on projections.name = ours.projection
order by ours.projection
on conflict (projection, version) do update set
seen_at = clock_timestamp(),
failing_since = case
    when excluded.failure is null then kept.failing_since
    when kept.failed_at between clock_timestamp() - interval '60 s' and clock_timestamp() then kept.failing_since
    else excluded.failing_since
end,
failed_at = coalesce(excluded.failed_at, kept.failed_at),
failure = coalesce(excluded.failure, kept.failure)
