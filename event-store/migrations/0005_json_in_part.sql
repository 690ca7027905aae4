-- The beginning of what a JSON value prints, for people who look at what is too large to be printed: about `room` characters,
-- whatever it would print in all, and never more than twice that and a name. Numbers of many digits are rounded (`1.000e-16383`),
-- what is left out is `…`, so that the result is for reading and not JSON. What lies deeper than `depth` is not entered.
create function json_in_part(data jsonb, room integer, depth integer) returns text
language plpgsql immutable strict parallel safe as $$
declare
    number numeric;
    said text;
    name text;
begin
    case jsonb_typeof(data)
    when 'number' then
        number := data;
        if scale(number) <= 40 and abs(number) < 1e40 then
            return number;
        end if;
        return trim(to_char(number, '9.999EEEE'));
    when 'string' then
        said := data #>> '{}';
        if octet_length(said) <= room then
            return data;
        end if;
        return to_jsonb(left(said, room))::text || '…';
    when 'array' then
        if depth = 0 and data <> '[]' then
            return '[…]';
        end if;
        said := '[';
        for place in 0 .. jsonb_array_length(data) - 1 loop
            said := said || case when place > 0 then ', ' else '' end;
            if length(said) >= room then
                said := said || '…';
                exit;
            end if;
            said := said || json_in_part(data -> place, room - length(said), depth - 1);
        end loop;
        return said || ']';
    when 'object' then
        if depth = 0 and data <> '{}' then
            return '{…}';
        end if;
        said := '{';
        for name in select jsonb_object_keys(data) loop
            said := said || case when said <> '{' then ', ' else '' end;
            if length(said) >= room then
                said := said || '…';
                exit;
            end if;
            said := said || to_jsonb(left(name, 200))::text || ': ' || json_in_part(data -> name, room - length(said), depth - 1);
        end loop;
        return said || '}';
    else
        return data;
    end case;
end
$$;
