-- The vocabulary: entries (spellings) and their items (senses).

-- Every entry that was created or that an item refers to: the two are different aggregates, so an item may be applied
-- before its entry. Until then spelling and created_at are null and consumers see nothing of the row.
create table entries (
    entry_id uuid primary key,
    spelling text,
    item_count int not null,
    published_count int not null,
    created_at timestamptz
) with (fillfactor = 85);

comment on table entries is 'behind vocabulary_entries, which is what consumers read';
comment on column entries.item_count is 'items created and not deleted';
comment on column entries.published_count is 'those of item_count that are published';

create view vocabulary_entries as
select entry_id, spelling, item_count, published_count, created_at
from entries
where created_at is not null;

create table vocabulary_items (
    item_id uuid primary key,
    entry_id uuid not null,
    spelling text not null,
    disambiguation text,
    status text not null check (status in ('draft', 'published', 'deleted')),
    fields jsonb not null,
    ai_generations int not null,
    created_by uuid not null,
    created_at timestamptz not null,
    published_at timestamptz,
    updated_at timestamptz not null,
    version int not null
) with (fillfactor = 85);

comment on column vocabulary_items.fields is 'flat: field_path -> value; what AI wrote is under ai.<key>';
comment on column vocabulary_items.updated_at is 'when the last event of the item occurred, whatever it was';
comment on column vocabulary_items.version is 'event_version of that event';
