-- binds: one array a column of the users who signed up in this batch, sorted by user_id
-- locks: users by user_id
-- why one: all rows in one round trip; who signs up again, after a deletion say, begins anew
insert into users (
    user_id, email, first_name, last_name, daily_goal, status, signed_up_at, updated_at, version
)
select *
from unnest(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::int[], $6::text[],
    $7::timestamptz[], $8::timestamptz[], $9::int[]
)
on conflict (user_id) do update
set email = excluded.email,
    first_name = excluded.first_name,
    last_name = excluded.last_name,
    daily_goal = excluded.daily_goal,
    status = excluded.status,
    signed_up_at = excluded.signed_up_at,
    updated_at = excluded.updated_at,
    version = excluded.version
