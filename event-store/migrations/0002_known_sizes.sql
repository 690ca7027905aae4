-- What an event becomes when it is read: docs/adr/0013.

-- Null for what was appended before this migration; readers work it out then. Added without a default and without a
-- check, so that no row is rewritten or read.
alter table events add column data_bytes integer;

comment on column events.data_bytes is 'the most bytes that event_data and metadata print';

-- Events that no reader can be given, as the readers found them. A row is a finding, not a decision: nobody waits for it.
create table unreadable_events (
    position bigint primary key,
    event_id uuid not null,
    aggregate_id uuid not null,
    event_version integer not null,
    aggregate_type varchar(100) not null,
    event_type varchar(100) not null,
    bytes integer not null,
    reason text not null,
    found_at timestamptz not null default clock_timestamp()
);

comment on column unreadable_events.bytes is 'the most bytes that event_data and metadata print';

-- The most bytes that a JSON value prints. A number of ten bytes may print 131,073 characters (`1e131071`), so that
-- nothing is printed before its numbers were looked at, unless it is so small that even such numbers do no harm.
-- Numbers are taken out as one array, because jsonb_path_query takes a time that grows with the square of their count.
create function bytes_when_printed(data jsonb) returns integer
language plpgsql immutable strict parallel safe as $$
declare
    -- Concatenation with nothing gives the value as it is in memory, not as it is compressed in the table.
    held constant bigint := pg_column_size(data || '{}');
    numbers bigint;
begin
    if held <= 1800 then
        return octet_length(data::text);
    end if;
    select coalesce(sum(scale(number) + case
        when abs(number) < 1e18 then 20
        when abs(number) < 1e100 then 102
        when abs(number) < 1e310 then 312
        else 131074
    end), 0)
    into numbers
    from (
        select item::numeric as number
        from jsonb_array_elements(jsonb_path_query_array(data, 'strict $.** ? (@.type() == "number")')) as item
        offset 0
    ) as found;
    if numbers > 20000000 or held > 100000000 then
        return least(greatest(numbers, held), 2147483647);
    end if;
    return octet_length(data::text);
end
$$;

-- The same for an event that was appended before sizes were kept. What was found unreadable is not looked at again.
create function event_bytes(of_position bigint, event_data jsonb, metadata jsonb) returns integer
language plpgsql stable strict parallel safe as $$
begin
    if pg_column_size(event_data || '{}') + pg_column_size(metadata || '{}') <= 1800 then
        return octet_length(event_data::text) + octet_length(metadata::text);
    end if;
    return coalesce(
        (select bytes from unreadable_events where position = of_position),
        least(bytes_when_printed(event_data)::bigint + bytes_when_printed(metadata), 2147483647)
    );
end
$$;
