-- The path a learner took through a session, kept whole: the material for asking why one stopped.
create table learner_journeys (
    session_id uuid primary key,
    user_id uuid not null,
    steps text[] not null,
    outcome text check (outcome in ('completed', 'abandoned'))
) with (fillfactor = 85);

comment on column learner_journeys.steps is
    'in aggregate order: started:<strategy>, then auto, correct or incorrect, then completed:<reason> or abandoned:<reason>';
comment on column learner_journeys.outcome is 'null while the session goes on';
