-- binds: one array a column of what learners gain in this batch, sorted by user_id; without a name_version the name stays
-- locks: learners by user_id
-- why one: a name and a time meet in one row, whichever of them is first
insert into learners as known (user_id, first_name, last_name, name_version, sessions_completed, study_seconds)
select *
from unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::int[], $6::bigint[])
on conflict (user_id) do update
set first_name = case when excluded.name_version is null then known.first_name else excluded.first_name end,
    last_name = case when excluded.name_version is null then known.last_name else excluded.last_name end,
    name_version = coalesce(excluded.name_version, known.name_version),
    sessions_completed = known.sessions_completed + excluded.sessions_completed,
    study_seconds = known.study_seconds + excluded.study_seconds
