-- How far the last steps of a part went, and how long each took with all its rests: positions a second, of which its time left is
-- made. `rates` had each step without its rests, which no sum of them can bring back; an older version of the code still writes it.
alter table generation_parts
    add column step_positions real[] not null default '{}',
    add column step_seconds real[] not null default '{}';
