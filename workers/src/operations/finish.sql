-- Binds: none.
-- Locks: the operations that end, and letters that they leave, at which nobody is.
-- A letter of a generation that is gone waits for nobody. Nor does one of a generation that another has replaced, if nobody runs the code
-- any more that built it: it is left as it is, which is said, and may be decided about again.
with ending as (
    select
        operation.id,
        (
            select count(*)
            from parked_events as parked
            where parked.operation_id = operation.id
            and parked.decision is not null
            and exists (
                select
                from generations as behind
                where behind.projection = parked.projection
                and behind.generation = parked.generation
                and behind.retired_at is null
                and behind.kept_until > clock_timestamp()
            )
        ) as lasting
    from operations as operation
    where operation.kind in ('retry', 'discard')
    and operation.state in ('pending', 'running')
    and (
        operation.seen >= operation.selected
        or coalesce(operation.advanced_at, operation.created_at)
        not between clock_timestamp() - interval '5 s' and clock_timestamp()
    )
    and not exists (
        select
        from parked_events as parked
        where parked.operation_id = operation.id
        and parked.decision is not null
        and not exists (
            select
            from generations as gone
            where gone.projection = parked.projection
            and gone.generation = parked.generation
            and gone.live_since is null
            and (
                gone.retired_at is not null
                or gone.kept_until <= clock_timestamp()
                or gone.replaced_at < clock_timestamp() - interval '30 s'
                and not exists (
                    select
                    from keepers as keeper
                    where keeper.projection = gone.projection
                    and keeper.version = gone.version
                    and keeper.seen_at > clock_timestamp() - interval '30 s'
                )
            )
        )
    )
),

spared as (
    update parked_events
    set decision = null, operation_id = null
    from ending
    where parked_events.operation_id = ending.id
    and parked_events.decision is not null
    and ending.lasting > 0
)

update operations
set
    state = case when kind = 'retry' and parked > 0 or lasting > 0 then 'failed' else 'succeeded' end,
    error = case
        when lasting > 0
            then format(
                '%s applied, %s parked, %s left as they are: another generation is read now, and nobody runs the code that built theirs',
                applied, parked, lasting
            )
        when kind = 'retry' and parked > 0
            then format('%s applied, %s parked: the dead letters say why', applied, parked)
    end,
    finished_at = clock_timestamp()
from ending
where operations.id = ending.id
and operations.state in ('pending', 'running')
