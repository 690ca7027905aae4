-- How learners get on: by session, by item, by day, and in all.

create table learning_sessions (
    session_id uuid primary key,
    user_id uuid not null,
    strategy text not null,
    item_count int not null,
    judged int not null,
    correct int not null,
    status text not null check (status in ('started', 'completed', 'abandoned')),
    started_at timestamptz not null,
    ended_at timestamptz,
    duration_seconds int
) with (fillfactor = 85);

comment on column learning_sessions.item_count is 'how many were planned; judged says how many were answered';
comment on column learning_sessions.correct is 'auto_confirmed or user_confirmed_correct, as in every table here';
comment on column learning_sessions.duration_seconds is 'null unless completed';

create table item_mastery (
    user_id uuid not null,
    item_id uuid not null,
    attempts int not null,
    correct int not null,
    total_response_ms bigint not null,
    last_judgment text not null
        check (last_judgment in ('auto_confirmed', 'user_confirmed_correct', 'user_confirmed_incorrect')),
    last_judged_at timestamptz not null,
    -- The fleet's own. Sessions of one learner may overlap and come in any order: the last judgment is the greatest
    -- by (last_judged_at, last_event_id), and without the id a tie would be settled by who came first.
    last_event_id uuid not null,
    primary key (user_id, item_id)
) with (fillfactor = 85);

comment on column item_mastery.last_event_id is 'the event of last_judgment; breaks the tie of two at the same time';

create table daily_progress (
    user_id uuid not null,
    date date not null,
    sessions_completed int not null,
    sessions_abandoned int not null,
    answers int not null,
    correct int not null,
    study_seconds bigint not null,
    primary key (user_id, date)
) with (fillfactor = 85);

comment on column daily_progress.date is 'UTC date of the event, not of the start of its session';

create table user_progress (
    user_id uuid primary key,
    sessions_started int not null,
    sessions_completed int not null,
    sessions_abandoned int not null,
    answers int not null,
    correct int not null,
    study_seconds bigint not null,
    last_studied_at timestamptz not null
) with (fillfactor = 85);

comment on column user_progress.study_seconds is 'of completed sessions: the others have no duration';
comment on column user_progress.last_studied_at is 'greatest time of any event of the user''s sessions';
