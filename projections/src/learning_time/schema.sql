-- Who has studied for how long. What people are called and how they study comes from two topics, in no order between
-- them: a row begins with whichever is first.
create table learners (
    user_id uuid primary key,
    first_name text,
    last_name text,
    name_version int,
    sessions_completed int not null,
    study_seconds bigint not null
) with (fillfactor = 85);

comment on column learners.first_name is 'null, like the last name, until the user is heard of, and once the user is deleted';
comment on column learners.name_version is 'event_version of the last event of the user that said something of the name';
