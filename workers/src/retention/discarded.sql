-- Binds: a time, most rows.
-- Locks: the rows. Whoever prunes at the same time takes others.
-- One statement, so that a row either goes or keeps what is needed of it. What a generation went on without must be known as
-- long as the generation can be built anew or counted: its row stays, without what the event carried. A message was no event of
-- the store, and nobody needs to know of it.
with old as materialized (
    select gone.id, exists (
        select
        from projection_progress as progress
        where progress.projection = gone.projection
    ) as needed
    from discarded_events as gone
    where gone.discarded_at < $1
    and gone.pruned_at is null
    order by gone.discarded_at
    limit $2
    for update of gone skip locked
),
emptied as (
    update discarded_events
    set payload = '', attributes = '{}', error = '', pruned_at = clock_timestamp()
    where id = any (array(select old.id from old where old.needed))
    returning 1
),
deleted as (
    delete from discarded_events
    where id = any (array(select old.id from old where not old.needed))
    returning 1
)
select (select count(*) from emptied) + (select count(*) from deleted) as "pruned!"
