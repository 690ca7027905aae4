-- binds: one array a column of what changes in stored users, sorted by user_id; null leaves a value as it is
-- locks: users by user_id
-- why one: a deletion forgets what was stored, but not what the batch says after it
with stored as (
    select change.*
    from unnest(
        $1::uuid[], $2::text[], $3::text[], $4::text[], $5::int[], $6::bool[], $7::timestamptz[], $8::int[]
    ) as change (user_id, email, first_name, last_name, daily_goal, deleted, updated_at, version)
    join users using (user_id)
    order by users.user_id
    for update of users
)
update users
set email = coalesce(stored.email, case when not stored.deleted then users.email end),
    first_name = coalesce(stored.first_name, case when not stored.deleted then users.first_name end),
    last_name = coalesce(stored.last_name, case when not stored.deleted then users.last_name end),
    daily_goal = coalesce(stored.daily_goal, users.daily_goal),
    status = case when stored.deleted then 'deleted' else users.status end,
    updated_at = stored.updated_at,
    version = stored.version
from stored
where users.user_id = stored.user_id
