-- The users of Postgres in docker-compose.yml, one for each role, as Terraform makes them in production; `fleet migrate --grant`
-- says what each may do. They share one password, because on one machine they are no boundary: they show that the grants suffice.
-- May be repeated.
\getenv password PGPASSWORD

select format('create role %I login', name)
from unnest(array[
    'fleet_event_store', 'fleet_admin', 'fleet_worker_vocabulary', 'fleet_worker_progress', 'fleet_worker_integration'
]) as name
where not exists (select from pg_roles where rolname = name)
\gexec

select format('alter role %I password %L', name, :'password')
from unnest(array[
    'fleet_event_store', 'fleet_admin', 'fleet_worker_vocabulary', 'fleet_worker_progress', 'fleet_worker_integration'
]) as name
\gexec
