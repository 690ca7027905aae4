-- Binds: projections, and the version of this code of each.
-- Locks: none.
-- Projections whose live generation an older version of the code built, and whether a generation of this code was ever begun:
-- it may be on its way, or a person has cancelled it, taken it back, or retired it.
select
    code.projection as "projection!",
    exists (
        select from generations as begun
        where begun.projection = code.projection
        and begun.version = code.version
        and begun.purpose = 'rebuild'
    ) as "begun!"
from unnest($1::text[], $2::integer[]) as code (projection, version)
join projections as live on live.name = code.projection
where live.version < code.version
