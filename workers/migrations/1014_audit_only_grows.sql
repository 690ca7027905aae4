-- Nobody who writes the audit log may delete of it. What is old goes by this function, as its owner, and what is younger than a
-- month is never old.
create function prune_audit_log(before timestamptz, most bigint) returns bigint
language plpgsql
security definer
set search_path = pg_catalog, public, pg_temp
as $$
declare
    pruned bigint;
begin
    if before > clock_timestamp() - interval '30 days' then
        raise exception 'the audit log is kept for 30 days at least' using errcode = 'check_violation';
    end if;
    delete from public.audit_log
    where id = any (array(
        select old.id
        from public.audit_log as old
        where old.at < before
        order by old.at
        limit most
        for update skip locked
    ));
    get diagnostics pruned = row_count;
    return pruned;
end
$$;

revoke execute on function prune_audit_log(timestamptz, bigint) from public;
