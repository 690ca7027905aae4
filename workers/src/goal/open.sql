-- Binds: topic, projections, a time.
-- Locks: none.
-- One statement: whether anything is left to do that people had asked for by then. An operation on dead letters is anybody's
-- who has letters of it. Those of generations that are not live are another code's, perhaps.
select exists (
    select
    from operations as operation
    where operation.state in ('pending', 'running')
    and operation.created_at <= $3
    and (
        (operation.kind = 'repair' and operation.projection = any($2::text[]))
        or exists (
            select
            from parked_events as letter
            where letter.operation_id = operation.id
            and letter.decision is not null
            and letter.topic = $1
            and (
                letter.projection is null
                or letter.projection = any($2::text[])
                and letter.generation = (select live.generation from projections as live where live.name = letter.projection)
            )
        )
    )
) as "open!"
