-- The four tables of `learner_progress` out of the events, as somebody writes it who knows that all is well with them.
insert into learning_sessions
select
    started.aggregate_id,
    (started.event_data ->> 'user_id')::uuid,
    started.event_data ->> 'strategy',
    (started.event_data ->> 'item_count')::int,
    coalesce(answers.judged, 0),
    coalesce(answers.correct, 0),
    case ended.event_type when 'SessionCompleted' then 'completed' when 'SessionAbandoned' then 'abandoned' else 'started' end,
    started.occurred_at,
    ended.occurred_at,
    (ended.event_data ->> 'duration_seconds')::int
from events as started
left join (
    select aggregate_id, count(*) as judged, count(*) filter (where event_data ->> 'judgment' <> 'user_confirmed_incorrect') as correct
    from events
    where event_type = 'CorrectnessJudged'
    group by aggregate_id
) as answers using (aggregate_id)
left join events as ended
    on ended.aggregate_id = started.aggregate_id and ended.event_type in ('SessionCompleted', 'SessionAbandoned')
where started.event_type = 'SessionStarted';

insert into item_mastery
select
    session.user_id,
    (judged.event_data ->> 'item_id')::uuid,
    count(*),
    count(*) filter (where judged.event_data ->> 'judgment' <> 'user_confirmed_incorrect'),
    sum((judged.event_data ->> 'response_time_ms')::bigint),
    (array_agg(judged.event_data ->> 'judgment' order by judged.occurred_at desc, judged.event_id desc))[1],
    max(judged.occurred_at),
    (array_agg(judged.event_id order by judged.occurred_at desc, judged.event_id desc))[1]
from events as judged
join learning_sessions as session on session.session_id = judged.aggregate_id
where judged.event_type = 'CorrectnessJudged'
group by 1, 2;

insert into daily_progress
select
    session.user_id,
    (event.occurred_at at time zone 'UTC')::date,
    count(*) filter (where event.event_type = 'SessionCompleted'),
    count(*) filter (where event.event_type = 'SessionAbandoned'),
    count(*) filter (where event.event_type = 'CorrectnessJudged'),
    count(*) filter (where event.event_data ->> 'judgment' <> 'user_confirmed_incorrect'),
    coalesce(sum((event.event_data ->> 'duration_seconds')::bigint), 0)
from events as event
join learning_sessions as session on session.session_id = event.aggregate_id
where event.event_type in ('SessionCompleted', 'SessionAbandoned', 'CorrectnessJudged')
group by 1, 2;

insert into user_progress
select
    session.user_id,
    count(*) filter (where event.event_type = 'SessionStarted'),
    count(*) filter (where event.event_type = 'SessionCompleted'),
    count(*) filter (where event.event_type = 'SessionAbandoned'),
    count(*) filter (where event.event_type = 'CorrectnessJudged'),
    count(*) filter (where event.event_data ->> 'judgment' <> 'user_confirmed_incorrect'),
    coalesce(sum((event.event_data ->> 'duration_seconds')::bigint), 0),
    max(event.occurred_at)
from events as event
join learning_sessions as session on session.session_id = event.aggregate_id
where event.event_type in ('SessionStarted', 'SessionCompleted', 'SessionAbandoned', 'CorrectnessJudged')
group by 1;

analyze learning_sessions, item_mastery, daily_progress, user_progress;
