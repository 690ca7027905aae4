-- Who the users are, as another system tells us.
create table users (
    user_id uuid primary key,
    email text,
    first_name text,
    last_name text,
    daily_goal int,
    status text not null check (status in ('active', 'deleted')),
    signed_up_at timestamptz not null,
    updated_at timestamptz not null,
    version int not null
) with (fillfactor = 90);

comment on column users.email is 'null, like the names, once the user is deleted';
comment on column users.daily_goal is 'null until the user sets one';
comment on column users.updated_at is 'when the last event of the user occurred, whatever it was';
comment on column users.version is 'event_version of that event';
