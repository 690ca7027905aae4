-- Binds: how much to raise the epoch.
-- Locks: the head row, to the end of the transaction. No row comes back if the newest version lies elsewhere.
-- One statement for finding and taking. It looks at the last two pages of the table, where the newest version is written
-- while a snapshot keeps the older ones; without one there is but one page.
update event_store_head
set epoch = epoch + $1
where ctid >= (
    select
        format(
            '(%s,0)',
            greatest(pg_relation_size('event_store_head') / current_setting('block_size')::bigint - 2, 0)
        )::tid
)
returning epoch, position, ctid::text as "place!"
