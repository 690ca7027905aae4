-- Binds: the fleet's own name, seconds, most.
-- Locks: none.
-- Sessions of others that have been at one statement for a while, by their name.
select
    coalesce(session.application_name, '') as "name!",
    count(*) as "sessions!",
    max(extract(epoch from clock_timestamp() - session.query_start))::float8 as "seconds!"
from pg_stat_activity as session
where session.datname = current_database()
and session.backend_type = 'client backend'
and session.state = 'active'
and session.application_name <> $1
and session.pid <> pg_backend_pid()
and session.query_start < clock_timestamp() - make_interval(secs => $2)
group by session.application_name
order by count(*) desc, session.application_name
limit $3
