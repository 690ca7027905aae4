-- binds: $1-$13 one array a column of the items' changes, $14-$16 of the entries created; both sorted by id
-- locks: stored items by item_id, then entries by entry_id
-- why one: an entry gains what its items are now less what they were, and only one statement sees both
with change as (
    select *
    from unnest(
        $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::timestamptz[], $7::text[],
        $8::jsonb[], $9::jsonb[], $10::int[], $11::timestamptz[], $12::timestamptz[], $13::int[]
    ) as change (
        item_id, entry_id, spelling, disambiguation, created_by, created_at, status,
        set_fields, removed_fields, ai_generations, published_at, updated_at, version
    )
),
-- An item that was created in this batch has an entry_id, one that goes on from its stored row has none.
stored as (
    select
        item.status as old_status,
        change.*
    from change
    join vocabulary_items as item using (item_id)
    where change.entry_id is null
    order by item.item_id
    for update of item
),
patched as (
    update vocabulary_items as item
    set status = coalesce(stored.status, item.status),
        fields = (item.fields || stored.set_fields)
            - array(select jsonb_array_elements_text(stored.removed_fields)),
        ai_generations = item.ai_generations + stored.ai_generations,
        published_at = coalesce(stored.published_at, item.published_at),
        updated_at = stored.updated_at,
        version = stored.version
    from stored
    where item.item_id = stored.item_id
    returning item.entry_id, stored.old_status, item.status
),
-- Empty in a sound history. An item created twice is made anew, and its entry must lose what it had of the first.
replaced as (
    select item.entry_id, item.status
    from change
    join vocabulary_items as item using (item_id)
    where change.entry_id is not null
),
created as (
    insert into vocabulary_items (
        item_id, entry_id, spelling, disambiguation, status, fields, ai_generations,
        created_by, created_at, published_at, updated_at, version
    )
    select
        item_id, entry_id, spelling, disambiguation, status, set_fields, ai_generations,
        created_by, created_at, published_at, updated_at, version
    from change
    where entry_id is not null
    on conflict (item_id) do update
    set entry_id = excluded.entry_id,
        spelling = excluded.spelling,
        disambiguation = excluded.disambiguation,
        status = excluded.status,
        fields = excluded.fields,
        ai_generations = excluded.ai_generations,
        created_by = excluded.created_by,
        created_at = excluded.created_at,
        published_at = excluded.published_at,
        updated_at = excluded.updated_at,
        version = excluded.version
    returning entry_id, status
),
counted as (
    select entry_id, status, 1 as sign from created
    union all
    select entry_id, status, -1 from replaced
    union all
    select entry_id, status, 1 from patched
    union all
    select entry_id, old_status, -1 from patched
),
gained as (
    select
        entry_id,
        null::text as spelling,
        sign * (status <> 'deleted')::int as items,
        sign * (status = 'published')::int as published,
        null::timestamptz as created_at
    from counted
    union all
    select entry_id, spelling, 0, 0, created_at
    from unnest($14::uuid[], $15::text[], $16::timestamptz[]) as entry (entry_id, spelling, created_at)
)
insert into entries as entry (entry_id, spelling, item_count, published_count, created_at)
select entry_id, max(spelling), sum(items), sum(published), max(created_at)
from gained
group by entry_id
having sum(items) <> 0
    or sum(published) <> 0
    or max(created_at) is not null
order by entry_id
on conflict (entry_id) do update
set spelling = coalesce(excluded.spelling, entry.spelling),
    item_count = entry.item_count + excluded.item_count,
    published_count = entry.published_count + excluded.published_count,
    created_at = coalesce(excluded.created_at, entry.created_at)
